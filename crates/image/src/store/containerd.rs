//! containerd's store: blobs by their digests, names in a database
//! (containerd, `core/metadata/buckets.go`: `v1/NAMESPACE/images/NAME/target`).

use std::io;
use std::path::Path;
use std::sync::Arc;

use palisade_base::Digest;

use super::bolt::{Bolt, Bucket};
use super::{Wanted, open_root};
use crate::blob::Store;
use crate::error::OpenImageError;
use crate::layout::Descriptor;
use crate::open::{Image, Opening};

const DATABASE: &str = "io.containerd.metadata.v1.bolt/meta.db";
const CONTENT: &str = "io.containerd.content.v1.content";
/// Images and namespaces that are looked at.
const IMAGES_MAX: usize = 1 << 20;
/// Times that the database is read again because it was written meanwhile.
const ATTEMPTS_MAX: usize = 5;

/// An image in the database.
struct Named {
    namespace: String,
    name: String,
    target: Descriptor,
}

impl Opening<'_> {
    pub(super) fn containerd_store(
        &self,
        wanted: &Wanted<'_>,
        path: &Path,
    ) -> Result<Option<Image>, OpenImageError> {
        let Some(root) = open_root(path)? else { return Ok(None) };
        let failed = |source| OpenImageError::StoreIo { path: path.join(DATABASE), source };
        let images = match images(&path.join(DATABASE), wanted.namespace) {
            Ok(images) => images,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let name = |image: &Named| (image.name.clone(), image.target.digest.to_string());
        let Some((name, id)) = wanted.choose(images.iter().map(name))? else { return Ok(None) };
        let chosen = images
            .iter()
            .filter(|image| image.name == name && image.target.digest.to_string() == id)
            // Kubernetes' namespace comes before others of the same image.
            .max_by_key(|image| image.namespace == "k8s.io");
        let Some(chosen) = chosen else { return Ok(None) };
        let content =
            open_root(&root.path().join(CONTENT))?.ok_or_else(|| OpenImageError::StoreIo {
                path: path.join(CONTENT),
                source: io::ErrorKind::NotFound.into(),
            })?;
        let store = Store::Layout(Arc::new(content));
        let mut image = self.described_image(store, &chosen.target)?;
        image.reference = Some(chosen.name.clone());
        Ok(Some(image))
    }
}

/// The image that a container was made of, by containerd's own database below `root`: its name,
/// and the digest that the name stands for now.
///
/// # Errors
///
/// There is no such database, or it is damaged.
pub fn containerd_image_of(
    root: &Path,
    namespace: &str,
    container: &str,
) -> io::Result<Option<(String, Digest)>> {
    settled(&root.join(DATABASE), |bolt| {
        let path = [b"v1".as_slice(), namespace.as_bytes(), b"containers", container.as_bytes()];
        let Some(bucket) = below(bolt, &path)? else { return Ok(None) };
        let mut name = None;
        bolt.each(&bucket, &mut |key, value, is_bucket| {
            if key == b"image" && !is_bucket {
                name = std::str::from_utf8(value).ok().map(str::to_string);
            }
            name.is_none()
        })?;
        let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
        let path = [b"v1".as_slice(), namespace.as_bytes(), b"images", name.as_bytes(), b"target"];
        let Some(target) = below(bolt, &path)? else { return Ok(None) };
        Ok(descriptor(bolt, &target)?.map(|target| (name, target.digest)))
    })
}

/// The bucket at the end of `path`.
fn below(bolt: &Bolt<std::fs::File>, path: &[&[u8]]) -> io::Result<Option<Bucket>> {
    let mut at = bolt.root();
    for name in path {
        let Some(next) = bolt.child(&at, name)? else { return Ok(None) };
        at = next;
    }
    Ok(Some(at))
}

/// The images of one namespace, or of all.
fn images(path: &Path, namespace: Option<&str>) -> io::Result<Vec<Named>> {
    settled(path, |bolt| list(bolt, namespace))
}

/// What `look` sees in a state of the database that nobody changed meanwhile.
fn settled<T>(path: &Path, look: impl Fn(&Bolt<std::fs::File>) -> io::Result<T>) -> io::Result<T> {
    let mut last = io::Error::other("the database is written all the time");
    for _ in 0..ATTEMPTS_MAX {
        let file = std::fs::File::open(path)?;
        let bolt = Bolt::open(file)?;
        let found = look(&bolt);
        let after = Bolt::open(std::fs::File::open(path)?)?.transaction;
        match found {
            // A page of this state is used again at the earliest by the writer after the next.
            Ok(found) if after == bolt.transaction => return Ok(found),
            Ok(_) => {}
            Err(error) if after == bolt.transaction => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn list(bolt: &Bolt<std::fs::File>, wanted: Option<&str>) -> io::Result<Vec<Named>> {
    let mut images = Vec::new();
    let Some(version) = bolt.child(&bolt.root(), b"v1")? else { return Ok(images) };
    let mut namespaces: Vec<(String, Option<Bucket>)> = Vec::new();
    bolt.each(&version, &mut |key, value, is_bucket| {
        let name = String::from_utf8_lossy(key).into_owned();
        if is_bucket && wanted.is_none_or(|wanted| wanted == name) {
            namespaces.push((name, Bolt::<std::fs::File>::bucket(value)));
        }
        namespaces.len() < IMAGES_MAX
    })?;
    for (namespace, bucket) in namespaces {
        let Some(bucket) = bucket else { continue };
        let Some(list) = bolt.child(&bucket, b"images")? else { continue };
        let mut named: Vec<(String, Option<Bucket>)> = Vec::new();
        bolt.each(&list, &mut |key, value, is_bucket| {
            if is_bucket {
                let name = String::from_utf8_lossy(key).into_owned();
                named.push((name, Bolt::<std::fs::File>::bucket(value)));
            }
            named.len() + images.len() < IMAGES_MAX
        })?;
        for (name, bucket) in named {
            let Some(bucket) = bucket else { continue };
            let Some(target) = bolt.child(&bucket, b"target")? else { continue };
            if let Some(target) = descriptor(bolt, &target)? {
                images.push(Named { namespace: namespace.clone(), name, target });
            }
        }
    }
    Ok(images)
}

fn descriptor(bolt: &Bolt<std::fs::File>, bucket: &Bucket) -> io::Result<Option<Descriptor>> {
    let (mut digest, mut media_type, mut size) = (None, None, None);
    bolt.each(bucket, &mut |key, value, _| {
        let text = || std::str::from_utf8(value).ok();
        match key {
            b"digest" => digest = text().and_then(|text| text.parse::<Digest>().ok()),
            b"mediatype" => media_type = text().map(str::to_string),
            b"size" => size = signed_varint(value),
            _ => {}
        }
        true
    })?;
    let (Some(digest), Some(media_type), Some(size)) = (digest, media_type, size) else {
        return Ok(None);
    };
    let mut found = Descriptor::of(&media_type, b"");
    (found.digest, found.size) = (digest, size);
    Ok(Some(found))
}

/// Go's `binary.Varint`, which is zigzag-encoded; `None` for a negative number.
fn signed_varint(bytes: &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for (i, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(i).ok()?)?;
        if byte & 0x80 == 0 {
            return (value & 1 == 0).then_some(value >> 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_gos() {
        let check =
            |bytes: &[u8], expected: Option<u64>| assert_eq!(signed_varint(bytes), expected);
        check(&[0], Some(0));
        check(&[2], Some(1));
        check(&[1], None);
        check(&[0x86, 0x09], Some(579));
        check(&[0x80], None);
        check(&[], None);
        check(&[0xff; 11], None);
    }
}
