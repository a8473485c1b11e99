//! Images in stores of engines, written here as the engines write them.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use palisade_base::{Digest, Explain as _};
use palisade_image::{Image, OpenImageError, OpenOptions, Stores, Visit, containerd_image_of};
use serde_json::json;

use crate::build::{file, folder, gzip, tar};

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Unpacks `archive` into `folder` as an engine does, and gives its record (tar-split).
fn split(archive: &[u8], folder: &Path) -> Vec<u8> {
    let mut record = String::new();
    let mut done = 0;
    let mut reader = tar::Archive::new(archive);
    for entry in reader.entries().unwrap() {
        let entry = entry.unwrap();
        let start = usize::try_from(entry.raw_file_position()).unwrap();
        let size = usize::try_from(entry.size()).unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        if entry.header().entry_type().is_dir() {
            std::fs::create_dir_all(folder.join(&name)).unwrap();
        } else if !name.contains(".wh.") {
            write(&folder.join(&name), &archive[start..start + size]);
        }
        let segment = json!({"type": 2, "payload": base64(&archive[done..start])});
        let mut line = json!({"type": 1, "name": format!("./{name}"), "payload": null});
        if size > 0 {
            line["size"] = size.into();
        }
        writeln!(record, "{segment}\n{line}").unwrap();
        done = start + size;
    }
    writeln!(record, "{}", json!({"type": 2, "payload": base64(&archive[done..])})).unwrap();
    gzip(record.as_bytes())
}

/// Two layers, the second of which hides a file of the first.
fn archives() -> [Vec<u8>; 2] {
    [
        tar(&[
            folder("etc/"),
            file("etc/old", "old"),
            file("etc/empty", ""),
            file("etc/kept", &"x".repeat(5000)),
        ]),
        tar(&[file("etc/.wh.old", ""), file("etc/new", "new")]),
    ]
}

const FILES: [(&str, u64); 3] = [("etc/empty", 0), ("etc/kept", 5000), ("etc/new", 3)];

fn config(archives: &[Vec<u8>; 2]) -> Vec<u8> {
    let diff_ids = archives.each_ref().map(|archive| Digest::of(archive).to_string());
    json!({"architecture": "amd64", "os": "linux", "config": {"User": "1000"},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}})
    .to_string()
    .into_bytes()
}

fn hex(digest: Digest) -> String {
    digest.to_string().trim_start_matches("sha256:").to_string()
}

/// A data root of Docker with one image; gives the image's id.
fn docker(root: &Path) -> Digest {
    let archives = archives();
    let config = config(&archives);
    let id = Digest::of(&config);
    let store = root.join("image/overlay2");
    write(&store.join("imagedb/content/sha256").join(hex(id)), &config);
    let names = json!({"Repositories": {"team/shop": {"team/shop:1.0": id.to_string()}}});
    write(&store.join("repositories.json"), names.to_string());
    let [first, second] = archives.each_ref().map(|archive| Digest::of(archive));
    let chain = [first, Digest::of(format!("{first} {second}").as_bytes())];
    for ((archive, id), cache) in archives.iter().zip(chain).zip(["aaa", "bbb-init"]) {
        let diff = root.join("overlay2").join(cache).join("diff");
        std::fs::create_dir_all(&diff).unwrap();
        let layer = store.join("layerdb/sha256").join(hex(id));
        write(&layer.join("cache-id"), cache);
        write(&layer.join("tar-split.json.gz"), split(archive, &diff));
    }
    id
}

/// A root of containers/storage with one image; gives the image's id.
fn podman(root: &Path) -> Digest {
    let archives = archives();
    let config = config(&archives);
    let id = Digest::of(&config);
    let manifest = b"{\"schemaVersion\":2}";
    let images = json!([{
        "id": hex(id), "digest": Digest::of(manifest).to_string(), "names": ["localhost/shop:latest"],
        "layer": "top", "big-data-digests": {"manifest": Digest::of(manifest).to_string()},
    }]);
    write(&root.join("overlay-images/images.json"), images.to_string());
    let folder = root.join("overlay-images").join(hex(id));
    write(&folder.join(format!("={}", base64(id.to_string().as_bytes()))), &config);
    write(&folder.join("manifest"), manifest);
    let layers = json!([{"id": "base"}, {"id": "top", "parent": "base"}]);
    write(&root.join("overlay-layers/layers.json"), layers.to_string());
    for (archive, name) in archives.iter().zip(["base", "top"]) {
        let diff = root.join("overlay").join(name).join("diff");
        std::fs::create_dir_all(&diff).unwrap();
        let record = split(archive, &diff);
        write(&root.join(format!("overlay-layers/{name}.tar-split.gz")), record);
    }
    id
}

/// A key and a value of a bucket.
type Pair = (Vec<u8>, Vec<u8>, bool);

/// A leaf page of a bbolt database.
fn leaf(pairs: &[Pair]) -> Vec<u8> {
    let mut page = vec![0; 16];
    page[8..10].copy_from_slice(&2_u16.to_le_bytes());
    page[10..12].copy_from_slice(&u16::try_from(pairs.len()).unwrap().to_le_bytes());
    let mut position = pairs.len() * 16;
    for (i, (key, value, is_bucket)) in pairs.iter().enumerate() {
        let fields = [usize::from(*is_bucket), position - i * 16, key.len(), value.len()];
        for field in fields {
            page.extend_from_slice(&u32::try_from(field).unwrap().to_le_bytes());
        }
        position += key.len() + value.len();
    }
    for (key, value, _) in pairs {
        page.extend_from_slice(key);
        page.extend_from_slice(value);
    }
    page
}

fn value(key: &str, value: &[u8]) -> Pair {
    (key.into(), value.to_vec(), false)
}

fn bucket(key: &str, pairs: &[Pair]) -> Pair {
    (key.into(), [vec![0; 16], leaf(pairs)].concat(), true)
}

fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A bbolt database whose root is one page.
fn bolt(root: &[Pair]) -> Vec<u8> {
    let meta = |transaction: u64| {
        let mut page = vec![0; 4096];
        page[8..10].copy_from_slice(&4_u16.to_le_bytes());
        page[16..20].copy_from_slice(&0xED0C_DAED_u32.to_le_bytes());
        page[20..24].copy_from_slice(&2_u32.to_le_bytes());
        page[24..28].copy_from_slice(&4096_u32.to_le_bytes());
        page[32..40].copy_from_slice(&2_u64.to_le_bytes());
        page[64..72].copy_from_slice(&transaction.to_le_bytes());
        let sum = checksum(&page[16..72]);
        page[72..80].copy_from_slice(&sum.to_le_bytes());
        page
    };
    let mut root = leaf(root);
    assert!(root.len() <= 4096);
    root.resize(4096, 0);
    [meta(6), meta(7), root].concat()
}

/// A root of containerd with one image in the namespace of Kubernetes.
fn containerd(root: &Path) -> Digest {
    containerd_of(root, "k8s.io")
}

fn containerd_of(root: &Path, namespace: &str) -> Digest {
    let blobs = root.join("io.containerd.content.v1.content/blobs/sha256");
    let put = |bytes: &[u8]| write(&blobs.join(hex(Digest::of(bytes))), bytes);
    let archives = archives();
    let config = config(&archives);
    put(&config);
    let described = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": Digest::of(bytes).to_string(), "size": bytes.len()});
    let layers = archives.each_ref().map(|archive| {
        put(archive);
        described("application/vnd.oci.image.layer.v1.tar", archive)
    });
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": kind, "layers": layers,
        "config": described("application/vnd.oci.image.config.v1+json", &config)})
    .to_string();
    put(manifest.as_bytes());
    let digest = Digest::of(manifest.as_bytes());
    // Go's zigzag encoding of a size of at most 8191.
    let size = 2 * manifest.len();
    let size = [u8::try_from(size & 0x7f).unwrap() | 0x80, u8::try_from(size >> 7).unwrap()];
    let target = bucket(
        "target",
        &[
            value("digest", digest.to_string().as_bytes()),
            value("mediatype", kind.as_bytes()),
            value("size", &size),
        ],
    );
    let images = bucket("images", &[bucket("docker.io/library/shop:2", &[target])]);
    let container = bucket("c1", &[value("image", b"docker.io/library/shop:2")]);
    let orphan = bucket("c2", &[value("image", b"docker.io/library/gone:2")]);
    let containers = bucket("containers", &[container, orphan]);
    let database = bolt(&[bucket(
        "v1",
        &[bucket(namespace, &[containers, images]), value("version", b"\x06")],
    )]);
    write(&root.join("io.containerd.metadata.v1.bolt/meta.db"), database);
    digest
}

fn options(root: &Path) -> OpenOptions {
    let stores = Stores {
        docker: vec![root.join("docker")],
        podman: vec![root.join("podman")],
        containerd: vec![root.join("containerd")],
    };
    OpenOptions { stores, ..OpenOptions::default() }
}

fn open(root: &Path, target: &str) -> Result<Image, OpenImageError> {
    Image::open(&target.parse().unwrap(), &options(root))
}

#[track_caller]
fn check_files(image: &Image) {
    let mut files = Vec::new();
    let walked = image.walk(&mut |entry, content| {
        let n = std::io::copy(content, &mut std::io::sink()).unwrap();
        if entry.kind == palisade_image::FileKind::Regular {
            files.push((entry.path.clone(), n));
        }
        Visit::Continue
    });
    assert!(walked.unwrap().gaps.is_empty());
    files.sort();
    let found: Vec<(&str, u64)> = files.iter().map(|(path, n)| (path.as_str(), *n)).collect();
    assert_eq!(found, FILES);
    assert_eq!(image.config.user, "1000");
}

#[test]
fn images_of_every_store_are_read_and_proved() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let id = docker(&root.join("docker"));
    podman(&root.join("podman"));
    let manifest = containerd(&root.join("containerd"));
    for target in
        ["docker:team/shop:1.0", "docker:docker.io/team/shop:1.0", &format!("docker:{id}")]
    {
        let image = open(root, target).unwrap();
        assert_eq!(image.config_digest, Some(id));
        check_files(&image);
        image.verify_blobs().unwrap();
    }
    for target in
        ["podman:shop", "podman:localhost/shop:latest", &format!("podman:{}", &hex(id)[..12])]
    {
        let image = open(root, target).unwrap();
        assert_eq!(image.manifest_digest, Some(Digest::of(b"{\"schemaVersion\":2}")));
        check_files(&image);
    }
    for target in ["containerd:shop:2", "containerd:docker.io/library/shop:2@k8s.io"] {
        let image = open(root, target).unwrap();
        assert_eq!(image.manifest_digest, Some(manifest));
        check_files(&image);
    }
    for target in
        ["docker:shop", "podman:team/shop:1.0", "containerd:shop", "containerd:shop:2@default"]
    {
        let error = open(root, target).unwrap_err();
        assert!(matches!(error, OpenImageError::NotInStore { .. }), "{target}: {error}");
        assert!(error.hint().unwrap().contains("images"));
    }
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(open(empty.path(), "docker:shop"), Err(OpenImageError::NotInStore { .. })));
}

#[test]
fn containerd_tells_what_a_container_is_made_of() {
    let root = tempfile::tempdir().unwrap();
    let manifest = containerd(root.path());
    let check = |namespace: &str, container: &str, expected: Option<(&str, Digest)>| {
        let found = containerd_image_of(root.path(), namespace, container).unwrap();
        let expected = expected.map(|(name, digest)| (name.to_string(), digest));
        assert_eq!(found, expected, "{namespace} {container}");
    };
    check("k8s.io", "c1", Some(("docker.io/library/shop:2", manifest)));
    // An image that is gone, a container or a namespace that is none.
    check("k8s.io", "c2", None);
    check("k8s.io", "c3", None);
    check("default", "c1", None);
    assert!(containerd_image_of(&root.path().join("none"), "k8s.io", "c1").is_err());
}

#[test]
fn docker_finds_its_images_in_a_containerd() {
    let root = tempfile::tempdir().unwrap();
    let own = root.path().join("docker/containerd/daemon");
    containerd(&own);
    // Docker's namespace is another than that of Kubernetes.
    assert!(matches!(open(root.path(), "docker:shop:2"), Err(OpenImageError::NotInStore { .. })));
    std::fs::remove_dir_all(&own).unwrap();
    containerd_of(&own, "moby");
    check_files(&open(root.path(), "docker:shop:2").unwrap());
}

#[test]
fn a_file_that_was_changed_in_a_store_is_found() {
    let root = tempfile::tempdir().unwrap();
    docker(&root.path().join("docker"));
    let kept = root.path().join("docker/overlay2/aaa/diff/etc/kept");
    let read = || open(root.path(), "docker:team/shop:1.0").unwrap().verify_blobs();
    std::fs::write(&kept, "y".repeat(5000)).unwrap();
    let error = read().unwrap_err().to_string();
    assert!(error.contains("where the configuration says"), "{error}");
    std::fs::write(&kept, "x").unwrap();
    assert!(read().is_err());
    // A link out of the layer is not followed.
    std::fs::remove_file(&kept).unwrap();
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(outside.path(), "x".repeat(5000)).unwrap();
    std::os::unix::fs::symlink(outside.path(), &kept).unwrap();
    assert!(read().is_err());
}

#[test]
fn lists_that_lie_lead_nowhere() {
    let root = tempfile::tempdir().unwrap();
    docker(&root.path().join("docker"));
    podman(&root.path().join("podman"));
    let cache =
        std::fs::read_dir(root.path().join("docker/image/overlay2/layerdb/sha256")).unwrap();
    for layer in cache.flatten() {
        std::fs::write(layer.path().join("cache-id"), "../../../etc").unwrap();
    }
    let error = open(root.path(), "docker:team/shop:1.0").unwrap_err().to_string();
    assert!(error.contains("no usable name"), "{error}");
    let layers = json!([{"id": "top", "parent": "top"}]);
    write(&root.path().join("podman/overlay-layers/layers.json"), layers.to_string());
    let error = open(root.path(), "podman:shop").unwrap_err().to_string();
    assert!(error.contains("2 layers where the store has 3"), "{error}");
    write(&root.path().join("podman/overlay-images/images.json"), "[{");
    let error = open(root.path(), "podman:shop").unwrap_err().to_string();
    assert!(error.contains("list of images `images.json`"), "{error}");
}

#[test]
fn an_archive_comes_through_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
    let archives = archives();
    let config = config(&archives);
    let manifest = json!([{"Config": "config.json", "RepoTags": ["shop:1"], "Layers": ["a", "b"]}]);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let whole = tar(&[
        file("config.json", &text(&config)),
        file("a", &text(&archives[0])),
        file("b", &text(&archives[1])),
        file("manifest.json", &manifest.to_string()),
    ]);
    let target = format!("archive:{}", pipe.display()).parse().unwrap();
    let writer = std::thread::spawn(move || std::fs::write(&pipe, whole).unwrap());
    check_files(&Image::open(&target, &OpenOptions::default()).unwrap());
    writer.join().unwrap();
}
