//! Images that are not what they say.

use palisade_base::{Digest, Explain as _};
use palisade_image::{
    BlobError, Image, Limits, OpenImageError, OpenOptions, ReadImageError, TarError, Visit,
};

use crate::build::*;

fn walk(layers: &[Blob], limits: &Limits) -> Result<(), ReadImageError> {
    let folder = tempfile::tempdir().unwrap();
    let target = layout(folder.path(), layers);
    let options = OpenOptions { limits: limits.clone(), ..OpenOptions::default() };
    let image = Image::open(&target, &options).unwrap();
    // A visitor that reads nothing, and one that swallows errors, learn of it all the same.
    let silent = image.walk(&mut |_, _| Visit::Continue).map(|_| ());
    let reading = image.walk(&mut |_, content| {
        let _ = std::io::copy(content, &mut std::io::sink());
        Visit::Continue
    });
    assert_eq!(silent.is_err(), reading.is_err());
    assert_eq!(
        silent.is_err(),
        image.verify_blobs().is_err() || matches!(silent, Err(ReadImageError::Tar { .. }))
    );
    silent
}

#[track_caller]
fn check(layers: &[Blob], limits: &Limits, matches: impl Fn(&ReadImageError) -> bool) {
    let error = walk(layers, limits).unwrap_err();
    assert!(matches(&error), "{error:?}");
    assert!(error.hint().is_some());
}

fn honest() -> Blob {
    layer(&[file("a", &"hello".repeat(1000))])
}

#[test]
fn an_honest_image_is_read() {
    walk(&[honest(), layer(&[])], &Limits::default()).unwrap();
}

#[test]
fn a_changed_byte_is_refused() {
    let whole = honest();
    for at in [0, 4, whole.stored.len() / 2, whole.stored.len() - 1] {
        let mut lie = whole.clone();
        lie.stored[at] ^= 1;
        let error = walk(&[lie], &Limits::default()).unwrap_err();
        // Told as a wrong digest, or as a stream that does not decompress.
        assert!(
            matches!(
                error,
                ReadImageError::Blob(BlobError::DigestMismatch { blob, .. }) if blob == whole.digest
            ) || matches!(error, ReadImageError::Layer { .. } | ReadImageError::Tar { .. }),
            "{at}: {error:?}"
        );
    }
    let mut other = layer(&[file("a", "other")]);
    other.digest = whole.digest;
    check(&[other.clone()], &Limits::default(), |error| {
        matches!(error, ReadImageError::Blob(BlobError::DigestMismatch { blob, found })
            if *blob == whole.digest && *found == Digest::of(&other.stored))
    });
}

#[test]
fn a_wrong_size_is_refused() {
    for difference in [-1_i64, 1] {
        let mut lie = honest();
        lie.size = lie.size.checked_add_signed(difference).unwrap();
        let (expected, found) = (lie.size, lie.stored.len() as u64);
        check(&[lie], &Limits::default(), |error| {
            matches!(error, ReadImageError::Blob(BlobError::SizeMismatch { expected: e, found: f, .. })
                if (*e, *f) == (expected, found))
        });
    }
}

#[test]
fn a_wrong_diff_id_is_refused() {
    let mut lie = honest();
    lie.diff_id = Digest::of(b"other");
    check(&[lie], &Limits::default(), |error| {
        matches!(error, ReadImageError::Blob(BlobError::DiffIdMismatch { expected, .. })
            if *expected == Digest::of(b"other"))
    });
}

#[test]
fn a_truncated_layer_is_refused() {
    let plain = tar(&[file("a", &"hello".repeat(1000))]);
    let cut = &plain[..1000];
    check(&[blob(gzip(cut), cut)], &Limits::default(), |error| {
        matches!(error, ReadImageError::Tar { source: TarError::Truncated { .. }, .. })
    });
    let stored = gzip(&plain);
    let half = stored[..stored.len() - 9].to_vec();
    check(&[blob(half, &plain)], &Limits::default(), |error| {
        matches!(error, ReadImageError::Layer { .. })
    });
}

#[test]
fn bombs_and_floods_are_refused() {
    let zeros = tar(&[file("zeros", &"\0".repeat(8 << 20))]);
    let bomb = blob(gzip(&zeros), &zeros);
    let limits = Limits { ratio_floor_bytes: 1 << 20, ratio_max: 100, ..Limits::default() };
    check(std::slice::from_ref(&bomb), &limits, |error| {
        matches!(error, ReadImageError::Blob(BlobError::Bomb { ratio_max: 100, .. }))
    });
    let limits = Limits { layer_bytes_max: 1 << 20, ..Limits::default() };
    check(
        &[bomb],
        &limits,
        |error| matches!(error, ReadImageError::Limit { source, .. } if source.limit == 1 << 20),
    );
    let limits = Limits { entries_max: 3, ..Limits::default() };
    let two = layer(&[file("a", ""), file("b", "")]);
    let other = layer(&[file("c", ""), file("d", "")]);
    let error = walk_only(&[two, other], &limits);
    assert!(matches!(error, ReadImageError::Tar { source: TarError::TooManyEntries { .. }, .. }));
}

fn walk_only(layers: &[Blob], limits: &Limits) -> ReadImageError {
    let folder = tempfile::tempdir().unwrap();
    let target = layout(folder.path(), layers);
    let options = OpenOptions { limits: limits.clone(), ..OpenOptions::default() };
    Image::open(&target, &options).unwrap().walk(&mut |_, _| Visit::Continue).unwrap_err()
}

#[test]
fn a_missing_layer_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let blob = honest();
    let target = layout(folder.path(), std::slice::from_ref(&blob));
    std::fs::remove_file(folder.path().join("blobs/sha256").join(blob.digest.hex())).unwrap();
    let image = Image::open(&target, &OpenOptions::default()).unwrap();
    let error = image.walk(&mut |_, _| Visit::Continue).unwrap_err();
    assert!(
        matches!(error, ReadImageError::Blob(BlobError::Missing(digest)) if digest == blob.digest)
    );
}

#[test]
fn a_blob_that_is_a_link_out_of_the_layout_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let outside = tempfile::NamedTempFile::new().unwrap();
    let blob = honest();
    std::fs::write(outside.path(), &blob.stored).unwrap();
    let target = layout(folder.path(), std::slice::from_ref(&blob));
    let path = folder.path().join("blobs/sha256").join(blob.digest.hex());
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(outside.path(), &path).unwrap();
    let image = Image::open(&target, &OpenOptions::default()).unwrap();
    let error = image.walk(&mut |_, _| Visit::Continue).unwrap_err();
    assert!(matches!(error, ReadImageError::Blob(BlobError::Missing(_))), "{error:?}");
}

#[test]
fn changed_documents_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let target = layout(folder.path(), &[honest()]);
    let image = Image::open(&target, &OpenOptions::default()).unwrap();
    for digest in [image.manifest_digest.unwrap(), image.config_digest.unwrap()] {
        let path = folder.path().join("blobs/sha256").join(digest.hex());
        let whole = std::fs::read(&path).unwrap();
        let mut lie = whole.clone();
        *lie.last_mut().unwrap() = b' ';
        std::fs::write(&path, &lie).unwrap();
        let error = Image::open(&target, &OpenOptions::default()).unwrap_err();
        assert!(
            matches!(error, OpenImageError::Blob(BlobError::DigestMismatch { blob, found })
                if blob == digest && found == Digest::of(&lie)),
            "{error:?}"
        );
        std::fs::write(&path, &whole).unwrap();
    }
    let limits = Limits { manifest_bytes_max: 10, ..Limits::default() };
    let options = OpenOptions { limits, ..OpenOptions::default() };
    assert!(matches!(Image::open(&target, &options), Err(OpenImageError::Limit(_))));
}
