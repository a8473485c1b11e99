//! Images in one file.

use std::path::{Path, PathBuf};

use palisade_base::Digest;
use palisade_image::{
    BlobError, Image, Limits, OpenImageError, OpenOptions, ReadImageError, Visit,
};
use palisade_model::Target;
use serde_json::json;

use crate::build::*;

fn open_with(path: &Path, selector: Option<&str>, limits: Limits) -> Result<Image, OpenImageError> {
    let target = Target::Archive { file: path.to_path_buf(), selector: selector.map(Into::into) };
    Image::open(&target, &OpenOptions { limits, ..OpenOptions::default() })
}

fn open(path: &Path, selector: Option<&str>) -> Result<Image, OpenImageError> {
    open_with(path, selector, Limits::default())
}

fn paths(image: &Image) -> Result<Vec<String>, ReadImageError> {
    let mut seen = Vec::new();
    image.walk(&mut |entry, _| {
        seen.push(entry.path.clone());
        Visit::Continue
    })?;
    Ok(seen)
}

/// Packs the files of a folder as `tar -C folder -cf - .` does.
fn tar_of(folder: &Path) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all("./", folder).unwrap();
    builder.into_inner().unwrap()
}

fn write(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn layouts_in_archives_plain_and_compressed() {
    let folder = tempfile::tempdir().unwrap();
    layout(&folder.path().join("layout"), &[layer(&[file("a", "1")]), layer(&[file("b", "2")])]);
    let plain = tar_of(&folder.path().join("layout"));
    let zstd =
        ruzstd::encoding::compress_to_vec(&plain[..], ruzstd::encoding::CompressionLevel::Fastest);
    for (name, bytes) in
        [("plain.tar", plain.clone()), ("a.tar.gz", gzip(&plain)), ("a.tar.zst", zstd)]
    {
        let image = open(&write(&folder, name, &bytes), Some("test")).unwrap();
        assert!(image.manifest_digest.is_some());
        assert_eq!(paths(&image).unwrap(), ["b", "a"], "{name}");
    }
    let cut = write(&folder, "cut.tar", &plain[..plain.len() / 2]);
    let error = open(&cut, None)
        .and_then(|image| paths(&image).map_err(|_| OpenImageError::Unsupported(String::new())));
    assert!(error.is_err());
    let garbage = write(&folder, "garbage", b"not a tar at all");
    assert!(matches!(open(&garbage, None), Err(OpenImageError::BadArchive { .. })));
    let empty = write(&folder, "empty", b"");
    assert!(matches!(open(&empty, None), Err(OpenImageError::NotAnArchive { .. })));
    assert!(matches!(open(Path::new("/nonexistent"), None), Err(OpenImageError::NotFound { .. })));
}

/// An archive as `docker save` wrote it before version 25.
fn docker_save(tags: &[&str], tamper: bool) -> Vec<u8> {
    let lower = tar(&[file("a", "1")]);
    let upper = tar(&[file("b", "2")]);
    let blobs = [blob(lower.clone(), &lower), blob(upper.clone(), &upper)];
    let config = config("amd64", &blobs);
    let name = format!("{}.json", Digest::of(&config).hex());
    let manifest = json!([{
        "Config": name, "RepoTags": tags, "Layers": ["one/layer.tar", "two/layer.tar"],
    }]);
    let upper = if tamper { tar(&[file("b", "3")]) } else { upper };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    tar(&[
        file("blob/real", &text(&lower)),
        symlink("one/layer.tar", "../blob/real"),
        file("two/layer.tar", &text(&upper)),
        file(&name, &text(&config)),
        file("manifest.json", &manifest.to_string()),
    ])
}

#[test]
fn old_docker_archives() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder, "save.tar", &docker_save(&["example.org/app:1"], false));
    for selector in [None, Some("1"), Some("example.org/app:1")] {
        let image = open(&path, selector).unwrap();
        assert_eq!(paths(&image).unwrap(), ["b", "a"]);
        assert_eq!(image.reference.as_deref(), Some("example.org/app:1"));
        assert_eq!(image.config.user, "65532");
    }
    assert!(matches!(open(&path, Some("2")), Err(OpenImageError::NoSuchImage { .. })));
    let path = write(&folder, "lie.tar", &docker_save(&[], true));
    let error = paths(&open(&path, None).unwrap()).unwrap_err();
    assert!(matches!(error, ReadImageError::Blob(BlobError::DiffIdMismatch { .. })), "{error:?}");
}

#[test]
fn archives_are_bounded_and_unambiguous() {
    let folder = tempfile::tempdir().unwrap();
    let check = |entries: &[Entry], limits: Limits| {
        let path = write(&folder, "x.tar", &tar(entries));
        let error = open_with(&path, None, limits).unwrap_err();
        assert!(matches!(error, OpenImageError::BadArchive { .. }), "{error:?}");
    };
    check(&[file("index.json", "{}"), file("./index.json", "[]")], Limits::default());
    check(&[file("../index.json", "{}")], Limits::default());
    let few = Limits { archive_entries_max: 2, ..Limits::default() };
    check(&[file("a", ""), file("b", ""), file("c", "")], few);
    let zeros = tar(&[file("zeros", &"\0".repeat(8 << 20))]);
    let path = write(&folder, "bomb.tar.gz", &gzip(&zeros));
    let limits = Limits { ratio_floor_bytes: 1 << 20, ratio_max: 50, ..Limits::default() };
    let error = open_with(&path, None, limits).unwrap_err();
    assert!(matches!(error, OpenImageError::BadArchive { .. }), "{error:?}");
}
