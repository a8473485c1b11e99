//! `palisade patch` on an image and a repository that the test makes and signs.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use palisade_base::Digest;
use serde_json::{Value, json};

use crate::fake_registry::FakeRegistry;
use crate::layout::{self, DPKG_STATUS, Layer, Layout, OS_RELEASE};
use crate::scan_sbom::build_database;
use crate::support::{Ended, run};

pub(crate) const DEB: &str = "libpalisadetest1_1.2.3-3_amd64.deb";

pub(crate) fn gpg(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new("gpg");
    command.arg("--homedir").arg(folder.join("gnupg"));
    command.args(["--batch", "--yes", "--quiet", "--no-tty", "--pinentry-mode", "loopback"]);
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Makes the repository in `mirror/` with the package of [`build_database`].
pub(crate) fn publish(folder: &Path, valid_until: &str) {
    let deb = std::fs::read(folder.join("debs").join(DEB)).unwrap();
    let place = folder.join("mirror/dists/bookworm-security/main/binary-amd64");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::create_dir_all(folder.join("mirror/pool")).unwrap();
    std::fs::write(folder.join("mirror/pool").join(DEB), &deb).unwrap();
    let index = format!(
        "Package: libpalisadetest1\nSource: palisadetest\nVersion: 1.2.3-3\nArchitecture: amd64\n\
         Filename: pool/{DEB}\nSize: {}\nSHA256: {}\n",
        deb.len(),
        Digest::of(&deb).hex()
    );
    std::fs::write(place.join("Packages"), &index).unwrap();
    let release = format!(
        "Suite: stable-security\nCodename: bookworm-security\nDate: Sat, 10 Jan 2026 10:00:00 UTC\n\
         Valid-Until: {valid_until}\nSHA256:\n {} {} main/binary-amd64/Packages\n",
        Digest::of(index.as_bytes()).hex(),
        index.len()
    );
    std::fs::write(folder.join("Release"), release).unwrap();
    let (from, to) = (folder.join("Release"), place.join("../../InRelease"));
    gpg(folder, &["--output", to.to_str().unwrap(), "--clearsign", from.to_str().unwrap()]);
}

fn image(folder: &Path, name: &str) -> Layout {
    image_of(folder, name, &json!({ "Cmd": ["/bin/hello"] }))
}

fn image_of(folder: &Path, name: &str, config: &Value) -> Layout {
    let key = gpg(folder, &["--export", "owner@example.org"]);
    let layer = Layer::new()
        .folder("etc/", 0o755)
        .file("etc/os-release", 0o644, OS_RELEASE)
        .folder("etc/apt/", 0o750)
        .file(
            "etc/apt/sources.list",
            0o644,
            "deb [signed-by=/usr/share/keyrings/owner.gpg] http://shop.example/debian bookworm-security main\n",
        )
        .file("usr/share/keyrings/owner.gpg", 0o644, key)
        .folder("var/lib/dpkg/", 0o755)
        .file("var/lib/dpkg/status", 0o644, DPKG_STATUS)
        .file(
            "var/lib/dpkg/info/libpalisadetest1.list",
            0o644,
            "/.\n/usr\n/usr/share\n/usr/share/doc\n/usr/share/doc/libpalisadetest1\n\
             /usr/share/doc/libpalisadetest1/old\n",
        )
        .folder("usr/share/doc/libpalisadetest1/", 0o755)
        .file("usr/share/doc/libpalisadetest1/old", 0o644, "old")
        .file("srv/mine", 0o600, "mine");
    Layout::write(&folder.join(name), vec![layer], config)
}

/// A folder with database, repository and image.
pub(crate) fn shop() -> (tempfile::TempDir, Layout) {
    let folder = tempfile::tempdir().unwrap();
    build_database(folder.path()).expect(0);
    std::fs::create_dir_all(folder.path().join("gnupg")).unwrap();
    let key = ["--passphrase", "", "--quick-gen-key", "owner@example.org", "ed25519"];
    gpg(folder.path(), &key);
    publish(folder.path(), "Sat, 01 Jan 2050 00:00:00 UTC");
    let image = image(folder.path(), "shop");
    (folder, image)
}

fn patch(folder: &Path, what: &[&str], image: &Layout) -> Ended {
    let mirror = format!("http://shop.example/debian=file://{}/mirror", folder.display());
    let target = image.target();
    let rest = ["--format", "json", "--repository-mirror", &mirror, &target];
    run(folder, &[&["patch"], what, &rest].concat())
}

fn document(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[test]
fn a_plan_and_a_base() {
    let (folder, image_of_shop) = shop();
    let base = image_of_shop.target();
    let plan =
        document(&patch(folder.path(), &["plan", "--base", &base], &image_of_shop).expect(0));
    assert_eq!(plan["upgrades"][0]["available"], "1.2.3-3");
    assert_eq!(plan["upgrades"][0]["fixes"], json!(["CVE-2026-10002", "CVE-2026-10001"]));
    assert_eq!(plan["remaining"], json!([]));
    assert_eq!(plan["bases"][0]["n_same"], 2);
    // A repository whose time is over is named, and the plan is not whole.
    publish(folder.path(), "Sat, 17 Jan 2026 10:00:00 UTC");
    let ended = patch(folder.path(), &["plan"], &image_of_shop).expect(4);
    assert!(ended.stderr.contains("it was valid until 2026-01-17"), "{}", ended.stderr);
    assert_eq!(document(&ended)["upgrades"], json!([]));
    run(folder.path(), &["patch", "plan", "--repository-mirror", "x", "oci:shop"])
        .expect_error(2, "`x` is not FROM=TO");
}

#[test]
fn the_base_that_an_image_states_is_asked_for_as_its_tag_is_now() {
    let (folder, _) = shop();
    let path = folder.path();
    let newer = DPKG_STATUS.replace("1.2.3-1", "1.2.3-3");
    let layer = Layer::new().file("etc/os-release", 0o644, OS_RELEASE).file(
        "var/lib/dpkg/status",
        0o644,
        newer,
    );
    Layout::write(&path.join("base"), vec![layer], &json!({}));
    let registry = FakeRegistry::start(&path.join("base"));
    let on = |base: &str| {
        let digest = Digest::of(b"as it was").to_string();
        let labels = json!({
            "org.opencontainers.image.base.name": base,
            "org.opencontainers.image.base.digest": digest,
        });
        let image = image_of(path, "labelled", &json!({ "Labels": labels }));
        document(&patch(path, &["plan", "--base", "auto"], &image).expect(0))
    };
    let name = format!("{}/base:12", registry.host);
    let plan = on(&name);
    assert_eq!(plan["bases"], json!([{"name": name, "n_fixed": 2, "n_same": 0, "n_new": 0}]));
    // One that nobody has is named, and the plan is whole.
    let plan = on("127.0.0.1:1/base:12");
    assert_eq!(plan["bases_not_asked"][0]["name"], "127.0.0.1:1/base:12");
    assert_eq!((&plan["bases"], &plan["n_fixed"]), (&Value::Null, &json!(2)));
}

/// Puts an image of one layer, whose files are in folders of the layer's own, into a store as
/// Podman keeps it (containers/storage, driver overlay).
fn put_into_store(store: &Path, name: &str, layer: Layer) {
    let write = |path: &str, bytes: &[u8]| {
        let path = store.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let archive = layer.finish();
    let (mut record, mut done) = (String::new(), 0);
    for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
        let entry = entry.unwrap();
        let start = usize::try_from(entry.raw_file_position()).unwrap();
        let end = start + usize::try_from(entry.size()).unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        write(&format!("overlay/top/diff/{path}"), &archive[start..end]);
        let head = json!({"type": 2, "payload": base64(&archive[done..start])});
        let file = json!({"type": 1, "name": path, "size": end - start, "payload": null});
        writeln!(record, "{head}\n{file}").unwrap();
        done = end;
    }
    writeln!(record, "{}", json!({"type": 2, "payload": base64(&archive[done..])})).unwrap();
    let config = json!({"architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&archive).to_string()]}})
    .to_string();
    let id = Digest::of(config.as_bytes());
    let manifest = Digest::of(b"{}").to_string();
    let images = json!([{"id": id.hex(), "digest": manifest, "names": [name], "layer": "top",
        "big-data-digests": {"manifest": manifest}}]);
    write("overlay-images/images.json", images.to_string().as_bytes());
    let of_image = format!("overlay-images/{}", id.hex());
    let data = base64(id.to_string().as_bytes());
    write(&format!("{of_image}/={data}"), config.as_bytes());
    write(&format!("{of_image}/manifest"), b"{}");
    write("overlay-layers/layers.json", json!([{"id": "top"}]).to_string().as_bytes());
    write("overlay-layers/top.tar-split.gz", &layout::gzip(record.as_bytes()));
}

#[test]
fn a_suggested_base_is_the_registrys_and_a_stores_only_where_that_fails() {
    let (folder, _) = shop();
    let path = folder.path();
    let base = |status: &str| {
        let layer = Layer::new().file("etc/os-release", 0o644, OS_RELEASE);
        layer.file("var/lib/dpkg/status", 0o644, status)
    };
    let mended = base(&DPKG_STATUS.replace("1.2.3-1", "1.2.3-3"));
    Layout::write(&path.join("base"), vec![mended], &json!({}));
    let registry = FakeRegistry::start(&path.join("base"));
    let plan = |name: &str, form: &str| {
        // As it was when the image was built on it.
        put_into_store(&path.join("store"), name, base(DPKG_STATUS));
        let store = format!("podman={}", path.join("store").display());
        let labels = json!({"org.opencontainers.image.base.name": name});
        let image = image_of(path, "labelled", &json!({ "Labels": labels }));
        let mirror = format!("http://shop.example/debian=file://{}/mirror", path.display());
        let target = image.target();
        let args = ["patch", "plan", "--base", "auto", "--store", &store, "--format", form];
        run(path, &[&args[..], &["--repository-mirror", &mirror, &target]].concat()).expect(0)
    };
    let name = format!("{}/base:12", registry.host);
    let found = json!([{"name": name, "n_fixed": 2, "n_same": 0, "n_new": 0}]);
    assert_eq!(document(&plan(&name, "json"))["bases"], found);
    let gone = "127.0.0.1:1/base:12";
    let plan_of_store = document(&plan(gone, "json"));
    let row = &plan_of_store["bases"][0];
    assert_eq!((&row["name"], &row["n_same"]), (&json!(gone), &json!(2)), "{plan_of_store:#}");
    assert_eq!(row["instead"]["store"], format!("podman:{gone}"));
    assert!(row["instead"]["why"].as_str().unwrap().contains("127.0.0.1:1"), "{row}");
    let table = plan(gone, "table").stdout;
    let row = format!("base {gone}: 0 fixed, 2 the same, 0 new; as podman:{gone} has it");
    assert!(table.contains(&row), "{table}");
}

#[test]
fn what_is_set_aside_is_neither_planned_nor_held_against_a_build() {
    let (folder, image) = shop();
    let path = folder.path();
    let plan = document(&patch(path, &["plan"], &image).expect(0));
    assert_eq!((&plan["n_vulnerabilities"], &plan["n_set_aside"]), (&json!(2), &json!(0)));
    assert_eq!(plan["database"]["oldest"]["name"], "debian-changelogs");
    std::fs::write(
        path.join("ignore.yaml"),
        "ignore:\n  - {id: CVE-2026-10001, reason: not reached, expires: 2050-01-01}\n",
    )
    .unwrap();
    // A statement about the image alone, and one that is not understood.
    std::fs::write(
        path.join("vex.json"),
        r#"{"@context": "https://openvex.dev/ns/v0.2.0", "statements": [
            {"vulnerability": {"name": "CVE-2026-10002"}, "status": "not_affected",
             "products": [{"@id": "pkg:oci/shop"}]},
            {"vulnerability": {"name": "CVE-2026-10001"}, "status": "not_afected",
             "products": [{"@id": "pkg:oci/shop"}]}]}"#,
    )
    .unwrap();
    let ignored = patch(path, &["plan", "--ignore", "ignore.yaml"], &image).expect(0);
    let ignored = document(&ignored);
    assert_eq!((&ignored["n_vulnerabilities"], &ignored["n_set_aside"]), (&json!(1), &json!(1)));
    assert_eq!(ignored["upgrades"][0]["fixes"], json!(["CVE-2026-10002"]));
    let ended = patch(path, &["plan", "--vex", "vex.json"], &image).expect(0);
    let warning = "1 statements are not understood and set nothing aside: status `not_afected` (1)";
    assert!(ended.stderr.contains(warning), "{}", ended.stderr);
    assert_eq!(document(&ended)["upgrades"][0]["fixes"], json!(["CVE-2026-10001"]));
    let both = ["plan", "--vex", "vex.json", "--ignore", "ignore.yaml"];
    assert_eq!(document(&patch(path, &both, &image).expect(0))["upgrades"], json!([]));
    // The second scan is of another image by name; what was set aside of this one is not new there.
    let build = ["build", "--vex", "vex.json", "-o", "out"];
    let built = document(&patch(path, &build, &image).expect(0));
    assert_eq!(built["proof"]["gone"], json!(["libpalisadetest1 CVE-2026-10001"]));
    assert_eq!((&built["proof"]["holds"], &built["n_set_aside"]), (&json!(true), &json!(1)));
}

#[test]
fn what_was_set_aside_of_the_old_version_is_not_new_in_a_build() {
    let (folder, image) = shop();
    let path = folder.path();
    let tracker = json!({"palisadetest": {"CVE-2026-10003": {
        "description": "has no fix", "releases": {"bookworm": {"status": "open", "urgency": "low"}},
    }}});
    std::fs::write(path.join("tracker.json"), tracker.to_string()).unwrap();
    let build = ["db", "build", "--debian-changelogs", "debs", "--release", "debian:12"];
    run(path, &[&build[..], &["--feed", "debian=tracker.json"]].concat()).expect(0);
    // As VEX documents name packages: in the version that somebody examined.
    let vex = r#"{"@context": "https://openvex.dev/ns/v0.2.0", "statements": [
        {"vulnerability": {"name": "CVE-2026-10003"}, "status": "not_affected",
         "products": [{"@id": "pkg:deb/debian/libpalisadetest1@1.2.3-1"}]}]}"#;
    std::fs::write(path.join("vex.json"), vex).unwrap();
    let build = ["build", "--vex", "vex.json", "-o", "out"];
    let built = document(&patch(path, &build, &image).expect(0));
    let proof = &built["proof"];
    assert_eq!((&proof["holds"], &proof["new"]), (&json!(true), &json!([])), "{built:#}");
    assert_eq!(proof["counts_again"], json!(["libpalisadetest1 CVE-2026-10003"]));
    assert_eq!(built["n_set_aside"], 1);
    let gone = ["libpalisadetest1 CVE-2026-10001", "libpalisadetest1 CVE-2026-10002"];
    assert_eq!(proof["gone"], json!(gone));
}

#[test]
fn a_build_is_proved_and_repeated() {
    let (folder, image) = shop();
    let path = folder.path();
    let built = document(&patch(path, &["build", "-o", "out"], &image).expect(0));
    let proof = &built["proof"];
    assert_eq!(proof["holds"], true, "{built:#}");
    assert_eq!(
        proof["gone"],
        json!(["libpalisadetest1 CVE-2026-10001", "libpalisadetest1 CVE-2026-10002"])
    );
    assert_eq!((&proof["new"], &proof["other_packages"]), (&json!([]), &json!([])));
    assert_eq!(proof["files"]["n_unexpected"], 0);
    assert_eq!(proof["files"]["n_removed"], 1, "{built:#}");
    assert_eq!(built["upgraded"][0]["to"], "1.2.3-3");
    let scan = run(path, &["scan", "--format", "json", "oci:out"]).expect(0);
    assert!(scan.stdout.contains("1.2.3-3") && !scan.stdout.contains("CVE-2026-1000"));
    // The same again, as an archive and into the layout that is there.
    let again = document(&patch(path, &["build", "-o", "out.tar"], &image).expect(0));
    assert_eq!(again["digest"], built["digest"]);
    run(path, &["scan", "archive:out.tar"]).expect(0);
    let tagged = patch(path, &["build", "-o", "out", "--tag", "two"], &image).expect(0);
    assert_eq!(document(&tagged)["digest"], built["digest"]);
    run(path, &["scan", "oci:out:two"]).expect(0);
    // Nothing is overwritten, and nothing temporary is left.
    patch(path, &["build", "-o", "out.tar"], &image).expect_error(2, "`out.tar` is there");
    patch(path, &["build", "-o", "debs"], &image).expect_error(2, "`debs` is there");
    let left = std::fs::read_dir(path).unwrap().flatten();
    let left = left.filter(|it| it.file_name().to_string_lossy().starts_with(".palisade"));
    assert_eq!(left.count(), 0);
    // Of a patched image there is nothing to patch.
    let mirror = format!("http://shop.example/debian=file://{}/mirror", path.display());
    let nothing = ["patch", "build", "--repository-mirror", &mirror, "-o", "no", "oci:out:latest"];
    run(path, &nothing).expect_error_with_output(1, "no upgrade can be made");
    assert!(!path.join("no").exists());
}

#[test]
fn a_package_that_is_not_the_signed_one_is_not_built_in() {
    let (folder, image) = shop();
    let path = folder.path().join("mirror/pool").join(DEB);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    patch(folder.path(), &["build", "-o", "out"], &image)
        .expect_error(3, "it is not what the signed index lists");
    assert!(!folder.path().join("out").exists());
    std::fs::remove_file(&path).unwrap();
    patch(folder.path(), &["build", "-o", "out"], &image).expect_error(3, "fetch file://");
}

#[test]
fn no_container_is_stale_where_none_runs() {
    let folder = tempfile::tempdir().unwrap();
    let offline = run(folder.path(), &["patch", "stale", "--offline", "--format", "json"]);
    // Others may run containers on this machine; what is printed is a list of them.
    assert!([0, 1, 4].contains(&offline.code), "{offline:?}");
    assert!(document(&offline)["containers"].is_array());
    let both = run(folder.path(), &["patch", "stale", "--offline", "--plan"]).expect(2);
    assert!(both.stderr.contains("cannot be used with"), "{}", both.stderr);
}
