//! Plans for images of RPM, against repositories that rpmbuild and createrepo_c make.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use palisade_base::Timestamp;
use palisade_image::{Image, OpenOptions};
use palisade_model::Target;
use palisade_model::finding::Vulnerability;
use palisade_patch::{
    Built, Files, Mirror, PatchError, Plan, Repository, Scripts, build, read_rpm,
};

use crate::root::run;
use crate::{FromFiles, finding};

/// What a package is made of: `body` is the rest of its spec file after the description.
#[derive(Default)]
pub(crate) struct Spec<'a> {
    pub(crate) name: &'a str,
    /// `[EPOCH:]VERSION-RELEASE`.
    pub(crate) version: &'a str,
    pub(crate) fields: &'a str,
    pub(crate) body: &'a str,
}

/// An image of RPM, its repository and the keys of the owner of that.
pub(crate) struct Shop {
    folder: tempfile::TempDir,
}

impl Shop {
    /// An image with nothing installed.
    pub(crate) fn empty() -> Self {
        let this = Self { folder: tempfile::tempdir().unwrap() };
        for folder in ["gnupg", "image/etc/yum.repos.d", "image/var/lib/rpm", "mirror/9/x86_64"] {
            std::fs::create_dir_all(this.path(folder)).unwrap();
        }
        let key = ["--passphrase", "", "--quick-gen-key", "owner@example.org", "rsa2048"];
        this.gpg(&key);
        let to = this.path("image/etc/pki/rpm-gpg/RPM-GPG-KEY-shop");
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        let export = ["--armor", "--output", to.to_str().unwrap(), "--export", "owner@example.org"];
        this.gpg(&export);
        this.write("image/etc/os-release", "ID=\"shop\"\nVERSION_ID=\"9.4\"\n");
        this.write("image/etc/dnf/vars/releasever", "9\n");
        this.repo("");
        this
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn gpg(&self, arguments: &[&str]) {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(self.path("gnupg"));
        command.args(["--batch", "--yes", "--quiet", "--no-tty", "--pinentry-mode", "loopback"]);
        run(command.args(arguments));
    }

    /// The image's configuration of the repository, with more settings.
    fn repo(&self, more: &str) {
        self.write(
            "image/etc/yum.repos.d/shop.repo",
            &format!(
                "[shop]\nname=Shop\nbaseurl=http://shop.example/$releasever/$basearch/\ngpgcheck=1\n\
                 gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-shop\n{more}"
            ),
        );
    }

    /// Makes a package in `packages/`.
    pub(crate) fn package(&self, spec: &Spec<'_>) -> PathBuf {
        let (epoch, rest) = spec.version.split_once(':').unwrap_or(("0", spec.version));
        let (version, release) = rest.split_once('-').unwrap();
        let name = spec.name;
        let architecture =
            if spec.fields.contains("BuildArch: noarch") { "noarch" } else { "x86_64" };
        let text = format!(
            "Name: {name}\nEpoch: {epoch}\nVersion: {version}\nRelease: {release}\nSummary: {name}\n\
             License: MIT\nAutoReqProv: no\n{}\n%description\n{name}\n{}\n",
            spec.fields, spec.body
        );
        self.write("spec", &text);
        let mut command = Command::new("rpmbuild");
        command.args(["--quiet", "-bb", "--target", architecture]);
        for (name, value) in [
            ("_topdir", self.path("build").to_str().unwrap()),
            ("_rpmdir", self.path("packages").to_str().unwrap()),
            ("_rpmfilename", "%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm"),
            ("_build_id_links", "none"),
            ("debug_package", "%{nil}"),
            ("__os_install_post", "%{nil}"),
        ] {
            command.args(["--define", &format!("{name} {value}")]);
        }
        run(command.arg(self.path("spec")));
        self.path(&format!("packages/{name}-{version}-{release}.{architecture}.rpm"))
    }

    /// Signs packages.
    pub(crate) fn sign(&self, packages: &[PathBuf]) {
        let mut command = Command::new("rpmsign");
        command.env("GNUPGHOME", self.path("gnupg"));
        command.args(["--define", "_gpg_name owner@example.org"]);
        command.args(["--define", "__gpg /usr/bin/gpg"]);
        run(command.arg("--addsign").args(packages));
    }

    /// Installs packages with rpm itself, in a root.
    pub(crate) fn rpm(&self, root: &str, arguments: &[&str], packages: &[PathBuf]) {
        let mut command = Command::new("rpm");
        command.arg("--root").arg(self.path(root)).args(["--dbpath", "/var/lib/rpm"]);
        run(command.args(arguments).args(packages));
    }

    /// Offers packages in the repository, and signs it.
    pub(crate) fn offer(&self, packages: &[PathBuf], more: &[(&str, &str)]) {
        let place = self.path("mirror/9/x86_64");
        std::fs::remove_dir_all(&place).unwrap();
        std::fs::create_dir_all(&place).unwrap();
        for package in packages {
            std::fs::copy(package, place.join(package.file_name().unwrap())).unwrap();
        }
        run(Command::new("createrepo_c").arg("--quiet").arg(&place));
        for (kind, text) in more {
            self.write(kind, text);
            let mut command = Command::new("modifyrepo_c");
            run(command
                .args(["--mdtype", kind.split('.').next().unwrap()])
                .arg(self.path(kind))
                .arg(place.join("repodata")));
        }
        self.sign_index();
    }

    fn sign_index(&self) {
        let repomd = self.repodata().join("repomd.xml");
        let (from, to) = (repomd.to_str().unwrap(), repomd.with_extension("xml.asc"));
        self.gpg(&["--armor", "--output", to.to_str().unwrap(), "--detach-sign", from]);
    }

    fn repodata(&self) -> PathBuf {
        self.path("mirror/9/x86_64/repodata")
    }

    pub(crate) fn files(&self) -> Files {
        let target = Target::Folder(self.path("image"));
        Files::read(&Image::open(&target, &OpenOptions::default()).unwrap()).unwrap()
    }

    pub(crate) fn gather(&self) -> Repository {
        let to = format!("file://{}", self.path("mirror").display());
        let mirrors = [
            Mirror { from: "http://shop.example".into(), to: to.clone() },
            Mirror { from: "listed".into(), to: format!("{to}/$releasever/$basearch") },
        ];
        Repository::gather(&self.files(), &mirrors, &FromFiles, Timestamp::now()).unwrap()
    }
}

pub(crate) fn of_rpm(package: &str, id: &str, fixed: &str) -> Vulnerability {
    let deb = finding(package, id, Some(fixed));
    Vulnerability { purl: format!("pkg:rpm/shop/{package}"), ..deb }
}

/// A file with the version in it.
fn with_file(path: &str, text: &str) -> String {
    let folder = Path::new(path).parent().unwrap().display().to_string();
    format!(
        "%install\nmkdir -p %{{buildroot}}{folder}\necho '{text}' > %{{buildroot}}{path}\n%files\n{path}"
    )
}

fn simple(shop: &Shop, name: &str, version: &str, fields: &str) -> PathBuf {
    let body = with_file(&format!("/usr/share/{name}"), version);
    shop.package(&Spec { name, version, fields, body: &body })
}

/// An image with packages of all kinds, and newer ones of them.
fn shop() -> Shop {
    let shop = Shop::empty();
    let old = [
        simple(&shop, "libshop", "1.0-1", ""),
        simple(&shop, "shop", "1:1.0-1", "Requires: libshop = 1.0-1\nRequires: /bin/sh\n"),
        simple(&shop, "locked", "1-1", ""),
        simple(&shop, "excluded", "1-1", ""),
        simple(&shop, "tool", "1-1", "ModularityLabel: tool:1:7:abc\n"),
        simple(&shop, "plain", "1-1", "BuildArch: noarch\n"),
        simple(&shop, "needy", "1-1", ""),
        simple(&shop, "native", "1-1", "BuildArch: noarch\n"),
    ];
    shop.rpm("image", &["--initdb"], &[]);
    shop.rpm("image", &["-U", "--nodeps", "--noscripts"], &old);
    let new = [
        simple(&shop, "libshop", "1.0-2", ""),
        simple(
            &shop,
            "shop",
            "1:1.0-2",
            "Requires: libshop = 1.0-2\nRequires: /bin/sh\nRequires: (a if b)\n",
        ),
        simple(&shop, "locked", "2-1", ""),
        simple(&shop, "excluded", "2-1", ""),
        simple(&shop, "tool", "1-2", "ModularityLabel: tool:1:8:abc\n"),
        simple(&shop, "tool", "2-1", "ModularityLabel: tool:2:8:abc\n"),
        simple(&shop, "plain", "1-2", "BuildArch: noarch\n"),
        simple(&shop, "needy", "1-2", "Requires: newcomer\n"),
        simple(&shop, "native", "1-2", ""),
    ];
    shop.write("image/etc/dnf/plugins/versionlock.list", "# mine\nlocked-0:1-1.*\n");
    shop.write("image/etc/dnf/dnf.conf", "[main]\nexcludepkgs=exc*\n");
    shop.write(
        "image/etc/dnf/modules.d/tool.module",
        "[tool]\nname=tool\nstream=1\nprofiles=\nstate=enabled\n",
    );
    let mut modules = String::new();
    for (stream, build) in [("1", "tool-0:1-2.x86_64"), ("2", "tool-0:2-1.x86_64")] {
        let _ = write!(
            modules,
            "---\ndocument: modulemd\nversion: 2\ndata:\n  name: tool\n  stream: \"{stream}\"\n  \
             artifacts:\n    rpms:\n    - {build}\n...\n"
        );
    }
    let notices = "<updates><update type=\"security\"><id>SHSA-2026:1</id><pkglist><collection>\
                   <package name=\"shop\" epoch=\"1\" version=\"1.0\" release=\"2\" arch=\"x86_64\"><filename>f</filename>\
                   </package></collection></pkglist></update></updates>";
    shop.offer(&new, &[("modules.yaml", &modules), ("updateinfo.xml", notices)]);
    shop
}

fn all() -> Vec<Vulnerability> {
    vec![
        Vulnerability { installed: "1:1.0-1".into(), ..of_rpm("shop", "CVE-2025-1", "1:1.0-2") },
        Vulnerability { installed: "1-1".into(), ..of_rpm("locked", "CVE-2025-2", "2-1") },
        Vulnerability { installed: "1-1".into(), ..of_rpm("excluded", "CVE-2025-3", "2-1") },
        Vulnerability { installed: "1-1".into(), ..of_rpm("tool", "CVE-2025-4", "1-2") },
        Vulnerability { installed: "1-1".into(), ..of_rpm("tool", "CVE-2025-5", "2-1") },
        Vulnerability { installed: "1-1".into(), ..of_rpm("plain", "CVE-2025-6", "1-2") },
        Vulnerability { installed: "1-1".into(), ..of_rpm("needy", "CVE-2025-7", "1-2") },
        Vulnerability { installed: "1.0-1".into(), ..of_rpm("libshop", "CVE-2025-8", "1.0-9") },
        finding("shop", "CVE-2025-9", Some("1:1.0-2")),
        Vulnerability { installed: "1-1".into(), ..of_rpm("native", "CVE-2025-10", "1-2") },
    ]
}

#[test]
fn a_plan_says_what_dnf_would_do() {
    let shop = shop();
    let repository = shop.gather();
    let suite = &repository.suites[0];
    assert_eq!((suite.problem.as_deref(), suite.note.as_deref()), (None, None));
    assert!(suite.signed_by.is_some() && suite.date.is_some());
    assert_eq!(suite.n_packages, 9);
    let plan = Plan::new(&shop.files(), &all(), &repository);
    let upgrades: Vec<(&str, &str, &[String], Option<&str>)> = plan
        .upgrades
        .iter()
        .map(|one| (&*one.package, &*one.available, &*one.fixes, one.needed_by.as_deref()))
        .collect();
    assert_eq!(
        upgrades,
        [
            ("libshop", "1.0-2", &[][..], Some("shop")),
            ("native", "1-2", &["CVE-2025-10".to_string()][..], None),
            ("plain", "1-2", &["CVE-2025-6".to_string()][..], None),
            ("shop", "1:1.0-2", &["CVE-2025-1".to_string()][..], None),
            ("tool", "1-2", &["CVE-2025-4".to_string()][..], None),
        ]
    );
    assert_eq!(plan.upgrades[3].notices, ["SHSA-2026:1"]);
    assert_eq!(plan.upgrades[4].module.as_deref(), Some("tool:1"));
    let why: Vec<(&str, &str)> = plan.remaining.iter().map(|one| (&*one.id, &*one.why)).collect();
    assert_eq!(
        why,
        [
            ("CVE-2025-3", "the fix is in 2-1, which the image's configuration excludes"),
            ("CVE-2025-8", "the repositories have 1.0-2, fixed is 1.0-9"),
            ("CVE-2025-2", "`/etc/dnf/plugins/versionlock.list` locks its version"),
            ("CVE-2025-7", "1-2 needs newcomer, which is not installed"),
            ("CVE-2025-9", "the package is none of rpm's; rebuild what brings it"),
            ("CVE-2025-5", "the fix is in 2-1, of the module stream tool:2, which is not enabled"),
        ]
    );
    // Without the state of the module no stream of it is enabled, and none is the default.
    std::fs::remove_file(shop.path("image/etc/dnf/modules.d/tool.module")).unwrap();
    let plan = Plan::new(&shop.files(), &all(), &shop.gather());
    assert!(plan.upgrades.iter().all(|one| one.package != "tool"));
}

#[test]
fn an_index_is_believed_or_named() {
    let shop = shop();
    let problem = || {
        let suites = shop.gather().suites;
        let suite = &suites[0];
        suite.problem.clone().or(suite.note.clone()).unwrap_or_default()
    };
    let check = |expected: &str| {
        let found = problem();
        assert!(found.contains(expected), "{found}");
    };
    assert_eq!(problem(), "");
    let asc = shop.repodata().join("repomd.xml.asc");
    let signature = std::fs::read(&asc).unwrap();
    std::fs::remove_file(&asc).unwrap();
    check("its index is not signed; each of its packages must be by a key of the image");
    shop.repo("repo_gpgcheck=1\n");
    check("it is not signed, and the image wants it signed (repo_gpgcheck)");
    std::fs::write(&asc, &signature).unwrap();
    assert_eq!(problem(), "");
    // A key that the image does not have.
    shop.repo("gpgkey=https://shop.example/key\nrepo_gpgcheck=1\n");
    check("the image holds no key for it; 1 files of keys cannot be read");
    shop.repo("gpgkey=https://shop.example/key\n");
    check("no key of the image signed its index");
    shop.repo("");
    // Another text under the same signature.
    let repomd = shop.repodata().join("repomd.xml");
    let text = std::fs::read_to_string(&repomd).unwrap();
    std::fs::write(&repomd, text.replace("<revision>", "<revision>1")).unwrap();
    check("is not trusted: the signature is false");
    // Signed, but the index is another.
    let resigned = |text: &str| {
        std::fs::write(&repomd, text).unwrap();
        shop.sign_index();
    };
    let primary = std::fs::read_dir(shop.repodata()).unwrap().map(|it| it.unwrap().path());
    let primary = primary.into_iter().find(|it| it.to_str().unwrap().ends_with("primary.xml.gz"));
    let primary = primary.unwrap();
    let bytes = std::fs::read(&primary).unwrap();
    resigned(&text);
    let mut changed = bytes.clone();
    changed[20] ^= 1;
    std::fs::write(&primary, &changed).unwrap();
    check("it is not what repomd.xml lists");
    std::fs::write(&primary, &bytes).unwrap();
    let weak = text.replace("type=\"sha256\"", "type=\"sha\"");
    resigned(&weak);
    check("its checksum is broken or too weak");
    let name = primary.file_name().unwrap().to_str().unwrap();
    resigned(&text.replace(&format!("repodata/{name}"), "../../etc/passwd"));
    check("an index lies outside the repository");
    let open = text.split("<open-size>").nth(1).unwrap().split('<').next().unwrap();
    resigned(&text.replace(&format!("<open-size>{open}<"), "<open-size>100<"));
    check("100");
    resigned(&text.replace(".xml.gz\"", ".xml.zck\""));
    check("repodata/");
    let future = text.replace("<timestamp>1", "<timestamp>9");
    resigned(&future);
    check("it is of the future");
    std::fs::remove_file(&repomd).unwrap();
    check("fetch file://");
}

#[test]
fn indices_may_have_any_usual_compression() {
    let shop = shop();
    let folder = shop.repodata();
    for (kind, program) in [("xz", "xz"), ("zst", "zstd")] {
        let place = shop.path("mirror/9/x86_64");
        run(Command::new("createrepo_c").arg("--quiet").arg(&place));
        let primary = std::fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path());
        let primary = primary
            .into_iter()
            .find(|it| it.to_str().unwrap().ends_with("primary.xml.gz"))
            .unwrap();
        run(Command::new("gunzip").arg("-k").arg("-f").arg(&primary));
        let plain = primary.with_extension("");
        run(Command::new(program).args(["-q", "-f", "-k"]).arg(&plain));
        let packed = plain.with_extension(format!("xml.{kind}"));
        let (old, new) = (std::fs::read(&primary).unwrap(), std::fs::read(&packed).unwrap());
        let text = std::fs::read_to_string(folder.join("repomd.xml")).unwrap();
        let text = text
            .replace(&palisade_base::Digest::of(&old).hex(), &palisade_base::Digest::of(&new).hex())
            .replace(&format!("<size>{}<", old.len()), &format!("<size>{}<", new.len()));
        // The name in the text has the old digest in it.
        let location = text.split("href=\"").find(|it| it.contains("primary.xml.gz")).unwrap();
        let location = location.split('"').next().unwrap();
        let name = format!("repodata/{}", packed.file_name().unwrap().to_str().unwrap());
        std::fs::write(folder.join("repomd.xml"), text.replace(location, &name)).unwrap();
        shop.sign_index();
        let suite = &shop.gather().suites[0];
        assert_eq!((suite.problem.as_deref(), suite.n_packages), (None, 9), "{kind}");
    }
}

#[test]
fn a_list_of_mirrors_is_named_or_replaced() {
    let shop = shop();
    let repo = "[named]\nmirrorlist=https://lists.example/?r=$releasever\n[listed]\nmetalink=https://lists.example/\npriority=1\n";
    shop.write("image/etc/yum.repos.d/shop.repo", repo);
    let repository = shop.gather();
    let [named, listed] = repository.suites.as_slice() else { panic!("{repository:?}") };
    assert_eq!(
        named.problem.as_deref(),
        Some(
            "https://lists.example/?r=9: its mirrorlist is not followed; name an address with \
             --repository-mirror named=ADDRESS"
        )
    );
    assert_eq!((listed.problem.as_deref(), listed.n_packages), (None, 9));
    assert!(listed.signed_by.is_some());
}

#[test]
fn what_is_excluded_keeps_no_other_repository_from_being_asked() {
    let shop = shop();
    let place = "baseurl=http://shop.example/$releasever/$basearch/\n";
    let repo = |more: &str| {
        let text = format!("[first]\npriority=1\n{place}{more}[second]\n{place}");
        shop.write("image/etc/yum.repos.d/shop.repo", &text);
        let found = of_rpm("shop", "CVE-2025-1", "1:1.0-2");
        let found = [Vulnerability { installed: "1:1.0-1".into(), ..found }];
        Plan::new(&shop.files(), &found, &shop.gather()).upgrades.len()
    };
    assert_eq!(repo(""), 2);
    assert_eq!(repo("excludepkgs=shop,libshop\n"), 2);
}

/// An image with one package and rpm, and a newer one of that with scripts, signed.
fn signed() -> (Shop, PathBuf) {
    let shop = Shop::empty();
    shop.write("image/usr/bin/rpm", "");
    let body = |text: &str| {
        "%post\necho post\n%preun\necho preun\n".to_string()
            + &with_file("/etc/shop.conf", text).replace("%files\n", "%files\n%config ")
    };
    let old = shop.package(&Spec { name: "shop", version: "1-1", body: &body("1"), fields: "" });
    let watching = "%triggerin -- shop\necho x\n%transfiletriggerin -- /etc\necho y\n".to_string()
        + &with_file("/usr/share/watcher", "1");
    let watcher =
        shop.package(&Spec { name: "watcher", version: "1-1", body: &watching, fields: "" });
    shop.rpm("image", &["--initdb"], &[]);
    shop.rpm("image", &["-U", "--nodeps", "--noscripts", "--notriggers"], &[old, watcher]);
    let new = shop.package(&Spec { name: "shop", version: "1-2", body: &body("2"), fields: "" });
    shop.sign(std::slice::from_ref(&new));
    shop.offer(std::slice::from_ref(&new), &[]);
    (shop, new)
}

fn build_of(shop: &Shop, scripts: Scripts) -> Result<Built, PatchError> {
    let found = [Vulnerability { installed: "1-1".into(), ..of_rpm("shop", "CVE-2025-1", "1-2") }];
    build(&shop.files(), &found, &shop.gather(), &FromFiles, scripts, 0, Vec::new())
}

#[test]
fn what_rpm_is_to_do_is_proved_and_named() {
    let (shop, new) = signed();
    let bytes = std::fs::read(&new).unwrap();
    let executed = [
        "post",
        "preun of the old version",
        "the trigger of watcher",
        "the file trigger of watcher on /etc",
    ];
    let refused = build_of(&shop, Scripts::Refuse).unwrap();
    let why = &refused.plan.remaining[0].why;
    assert!(why.contains(&executed.join(", ")) && why.contains("--allow-scripts"), "{why}");
    assert_eq!(refused.transaction, None);
    let built = build_of(&shop, Scripts::Skip).unwrap();
    assert_eq!(built.upgraded[0].skipped, executed);
    let transaction = built.transaction.unwrap();
    assert_eq!(transaction.packages, [("0.rpm".to_string(), bytes.clone())]);
    assert_eq!(
        transaction.arguments("/x"),
        ["rpm", "--upgrade", "--nosignature", "--noscripts", "--notriggers", "/x/0.rpm"]
    );
    assert_eq!(transaction.configuration["/etc/shop.conf"], "shop");
    let built = build_of(&shop, Scripts::Run).unwrap();
    assert_eq!(built.upgraded[0].executed, executed);
    let transaction = built.transaction.unwrap();
    assert_eq!(transaction.arguments("/x"), ["rpm", "--upgrade", "--nosignature", "/x/0.rpm"]);
}

#[test]
fn a_package_is_signed_by_a_key_of_the_image() {
    let (shop, new) = signed();
    let signed = std::fs::read(&new).unwrap();
    let check = |expected: &str| {
        let error = build_of(&shop, Scripts::Skip).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    // Whatever the index lists, as its owner made it: what is in the package counts.
    let offer = |bytes: &[u8]| {
        std::fs::write(&new, bytes).unwrap();
        shop.offer(std::slice::from_ref(&new), &[]);
    };
    let place =
        |needle: &[u8]| signed.windows(needle.len()).rposition(|window| window == needle).unwrap();
    let mut changed = signed.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    offer(&changed);
    check("its files are not those of their digest");
    let mut changed = signed.clone();
    changed[place(b"echo post")] ^= 1;
    offer(&changed);
    check("its header is not that of its digest");
    // Without the digest, which anybody can make anew, the signature is false.
    let tag = |name: u32| [name.to_be_bytes(), 6_u32.to_be_bytes()].concat();
    let at = signed.windows(8).position(|window| window == tag(273)).unwrap();
    changed[at..at + 8].copy_from_slice(&tag(999));
    offer(&changed);
    check("the signature is false");
    std::fs::write(&new, &signed).unwrap();
    run(Command::new("rpmsign").arg("--delsign").arg(&new));
    let unsigned = std::fs::read(&new).unwrap();
    offer(&unsigned);
    check("it is not signed");
    // A repository whose index vouches for its packages.
    shop.repo("gpgcheck=0\n");
    assert!(build_of(&shop, Scripts::Skip).is_ok());
    std::fs::remove_file(shop.repodata().join("repomd.xml.asc")).unwrap();
    check("it is not signed");
    // A key that rpm's database has suffices; none at all does not.
    offer(&signed);
    shop.repo("gpgkey=https://shop.example/key\n");
    check("the image holds no key for it");
    let key = shop.path("image/etc/pki/rpm-gpg/RPM-GPG-KEY-shop");
    shop.rpm("image", &["--import"], &[key]);
    assert!(build_of(&shop, Scripts::Skip).is_ok());
    // The index is read once; what is fetched later must be what it lists.
    let repository = shop.gather();
    let copy = shop.path("mirror/9/x86_64").join(new.file_name().unwrap());
    std::fs::write(copy, &unsigned).unwrap();
    let found = [Vulnerability { installed: "1-1".into(), ..of_rpm("shop", "CVE-2025-1", "1-2") }];
    let outcome =
        build(&shop.files(), &found, &repository, &FromFiles, Scripts::Skip, 0, Vec::new());
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("is not trusted") || error.contains("fetch"), "{error}");
    // Without rpm nobody writes its database.
    std::fs::remove_file(shop.path("image/usr/bin/rpm")).unwrap();
    check("the image has no `rpm`");
}

#[test]
fn what_is_no_package_is_refused() {
    let (_shop, new) = signed();
    let bytes = std::fs::read(&new).unwrap();
    assert_eq!(read_rpm(&bytes, "r").unwrap().version, "1-2");
    for cut in (0..bytes.len()).step_by(7) {
        assert!(read_rpm(&bytes[..cut], "r").is_err(), "{cut}");
    }
}
