//! Lock files and manifests. Those below `testdata/locks` were written by the tools themselves,
//! for projects made for this purpose, with the hosts replaced.

use std::path::Path;

use palisade_model::package::PackageState;
use palisade_packages::{Collected, Collector};

use crate::{collect_folder, subject};

fn purls(found: &Collected) -> Vec<&str> {
    found.inventory.packages.iter().map(|one| one.purl.as_str()).collect()
}

#[track_caller]
fn check_folder(name: &str, expected: &[&str], n_development: u64) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/locks").join(name);
    let found = collect_folder(&root);
    assert_eq!(found.inventory.gaps, [], "{name}");
    assert_eq!(purls(&found), expected, "{name}");
    assert_eq!(found.n_development, n_development, "{name}");
}

fn collect(files: &[(&str, &str)]) -> Collected {
    let mut collector = Collector::new();
    for (path, content) in files {
        assert!(collector.wants(path).is_some(), "{path}");
        collector.add(path, content.as_bytes(), None);
    }
    collector.finish(subject(), files.len() as u64, Vec::new())
}

#[track_caller]
fn check(files: &[(&str, &str)], expected: &[&str]) -> Collected {
    let found = collect(files);
    assert_eq!(found.inventory.gaps, []);
    assert_eq!(purls(&found), expected);
    found
}

#[test]
fn what_npm_installs_on_other_systems_alone_is_left_out() {
    let of = |os: &str| format!(r#"{{"version":"1.0.0","os":{os}}}"#);
    let lock = format!(
        r#"{{"lockfileVersion":3,"packages":{{"node_modules/mac":{},"node_modules/both":{},
        "node_modules/not-windows":{},"node_modules/not-here":{},"node_modules/odd":{}}}}}"#,
        of(r#"["darwin"]"#),
        of(r#"["darwin","linux"]"#),
        of(r#"["!win32"]"#),
        of(r#""!linux""#),
        of("7"),
    );
    check(
        &[("srv/package-lock.json", &lock)],
        &["pkg:npm/both@1.0.0", "pkg:npm/not-windows@1.0.0", "pkg:npm/odd@1.0.0"],
    );
}

#[test]
fn node() {
    let runtime = [
        "pkg:npm/%40types/ms@0.7.34",
        "pkg:npm/debug@4.3.4",
        "pkg:npm/is-number@6.0.0",
        "pkg:npm/is-odd@3.0.1",
        "pkg:npm/ms@2.0.0",
        "pkg:npm/ms@2.1.2",
    ];
    for name in ["npm-1", "npm-2", "npm-3", "bun", "pnpm-5", "pnpm-6", "pnpm-9"] {
        check_folder(name, &runtime, 6);
    }
    // Yarn's do not tell what is for development.
    let all = [
        "pkg:npm/%40types/ms@0.7.34",
        "pkg:npm/debug@4.3.4",
        "pkg:npm/is-buffer@1.1.6",
        "pkg:npm/is-even@1.0.0",
        "pkg:npm/is-number@3.0.0",
        "pkg:npm/is-number@6.0.0",
        "pkg:npm/is-odd@0.1.2",
        "pkg:npm/is-odd@3.0.1",
        "pkg:npm/kind-of@3.2.2",
        "pkg:npm/left-pad@1.3.0",
        "pkg:npm/ms@2.0.0",
        "pkg:npm/ms@2.1.2",
    ];
    for name in ["yarn-1", "yarn-berry"] {
        check_folder(name, &all, 0);
    }
}

#[test]
fn python() {
    let both = ["pkg:pypi/click@8.1.7", "pkg:pypi/colorama@0.4.6"];
    check_folder("poetry", &both, 1);
    check_folder("pylock", &both, 0);
    check_folder("pipenv", &both[..1], 1);
    let uv = [both[0], both[1], "pkg:pypi/markupsafe@2.1.5", "pkg:pypi/shop@1.0"];
    check_folder("uv", &uv, 1);
    check(
        &[("srv/requirements.txt", "# comment\nFlask==2.0.0 \\\n    --hash=sha256:00\nrange>=1\n")],
        &["pkg:pypi/flask@2.0.0"],
    );
}

#[test]
fn ruby_and_php() {
    check_folder(
        "bundler",
        &[
            "pkg:gem/mustermann@3.0.0",
            "pkg:gem/rack@2.2.22",
            "pkg:gem/rack-protection@3.0.5",
            "pkg:gem/ruby2_keywords@0.0.5",
            "pkg:gem/sinatra@3.0.5",
            "pkg:gem/tilt@2.0.11",
        ],
        0,
    );
    check_folder("gem", &["pkg:gem/shop-kit@1.2.3.pre1"], 0);
    check_folder("composer", &["pkg:composer/guzzlehttp/psr7@1.8.3"], 1);
    check_folder(
        "composer-vendor",
        &["pkg:composer/acme/test-kit@v2.0.1", "pkg:composer/guzzlehttp/psr7@1.8.3"],
        0,
    );
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/locks/gem");
    let gem = &collect_folder(&root).inventory.packages[0];
    assert_eq!(gem.licences, ["MIT", "Apache-2.0"]);
    assert_eq!(gem.maintainer.as_deref(), Some("The Palisade authors"));
    assert_eq!(gem.state, PackageState::Installed);
    // A platform follows the version.
    check(
        &[(
            "srv/Gemfile.lock",
            "GEM\n  specs:\n    nokogiri (1.13.10-x86_64-linux)\n      racc (~> 1.4)\n\nPATH\n  specs:\n    own (1.0)\n",
        )],
        &["pkg:gem/nokogiri@1.13.10"],
    );
}

#[test]
fn cargo_reads_this_workspace() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    let text = std::fs::read_to_string(path).unwrap();
    let found = collect(&[("src/Cargo.lock", &text)]);
    assert_eq!(found.inventory.gaps, []);
    assert_eq!(found.inventory.packages.len(), text.matches("[[package]]").count());
    assert!(purls(&found).contains(&"pkg:cargo/palisade-packages@0.1.0"));
}

#[test]
fn go() {
    let text =
        "module example.com/shop // the module\n\ngo 1.21\n\nrequire example.com/one v1.0.0\n
require (
\t\"example.com/two\" v2.0.0 // indirect
\texample.com/forked v1.0.0
\texample.com/local v1.0.0
)
replace example.com/forked => example.com/fork v1.0.1
replace example.com/local v1.0.0 => ../local
exclude example.com/one v0.9.0
retract (
\tv0.1.0
)
";
    check(
        &[("src/go.mod", text)],
        &[
            "pkg:golang/example.com/fork@v1.0.1",
            "pkg:golang/example.com/one@v1.0.0",
            "pkg:golang/example.com/two@v2.0.0",
        ],
    );
}

#[test]
fn dotnet() {
    let deps = r#"{"runtimeTarget":{"name":".NETCoreApp,Version=v8.0"},"libraries":{
        "shop/1.0.0":{"type":"project","serviceable":false,"sha512":""},
        "Newtonsoft.Json/13.0.1":{"type":"package","serviceable":true,"sha512":"x"}}}"#;
    let found = check(&[("app/shop.deps.json", deps)], &["pkg:nuget/Newtonsoft.Json@13.0.1"]);
    assert_eq!(found.inventory.packages[0].state, PackageState::Installed);
    let lock = r#"{"version":1,"dependencies":{"net8.0":{
        "Serilog":{"type":"Direct","requested":"[3.1.1, )","resolved":"3.1.1","contentHash":"x"},
        "shop.core":{"type":"Project"}},"net8.0/linux-x64":{}}}"#;
    check(&[("src/packages.lock.json", lock)], &["pkg:nuget/Serilog@3.1.1"]);
    let config = "\u{feff}<?xml version=\"1.0\"?>\n<packages>\n  <package id=\"A\" version=\"1.0\" />\n  <package id='B' version='2.0' developmentDependency='true'/>\n</packages>";
    let found = check(&[("src/packages.config", config)], &["pkg:nuget/A@1.0"]);
    assert_eq!(found.n_development, 1);
}

#[test]
fn conda() {
    let record = r#"{"name":"openssl","version":"1.1.1q","license":"OpenSSL","files":["bin/openssl","ssl/a"]}"#;
    let found = check(
        &[("opt/conda/conda-meta/openssl-1.1.1q-h_0.json", record)],
        &["pkg:conda/openssl@1.1.1q"],
    );
    let package = &found.inventory.packages[0];
    assert_eq!(package.files, ["/opt/conda/bin/openssl", "/opt/conda/ssl/a"]);
    assert_eq!(package.licences, ["OpenSSL"]);
    check(
        &[(
            "srv/environment.yml",
            "name: x\ndependencies:\n  - a=1.0=b\n  - b>=2\n  - pip:\n    - six==1.16.0\n    - e\n",
        )],
        &["pkg:pypi/six@1.16.0", "pkg:conda/a@1.0"],
    );
}

#[test]
fn what_is_installed_is_not_declared_again() {
    let lock = r#"{"lockfileVersion":3,"packages":{"":{"name":"x"},
        "node_modules/a":{"version":"1.0.0"},"node_modules/b":{"version":"2.0.0"}}}"#;
    let found = collect(&[
        ("srv/package-lock.json", lock),
        ("srv/node_modules/a/package.json", r#"{"name":"a","version":"1.0.0"}"#),
    ]);
    let states: Vec<(&str, PackageState)> =
        found.inventory.packages.iter().map(|one| (one.name.as_str(), one.state)).collect();
    assert_eq!(states, [("a", PackageState::Installed), ("b", PackageState::Declared)]);
    assert_eq!(found.n_declared, 1);
}

#[test]
fn leftovers_of_package_authors_are_not_read() {
    let collector = Collector::new();
    for path in [
        "srv/node_modules/a/package-lock.json",
        "srv/node_modules/a/yarn.lock",
        "usr/lib/python3/dist-packages/a/poetry.lock",
        "usr/lib/python3/site-packages/a/requirements.txt",
        "var/lib/gems/3.1.0/gems/a-1.0/Gemfile.lock",
        "root/go/pkg/mod/example.com/a@v1.0.0/go.mod",
        "root/.cargo/registry/src/a-1.0.0/Cargo.lock",
        "srv/vendor/a/b/composer.lock",
    ] {
        assert_eq!(collector.wants(path), None, "{path}");
    }
}

#[test]
fn broken_files_are_gaps() {
    let check = |path: &str, content: &str, expected: &str| {
        let found = collect(&[(path, content)]);
        let gaps = &found.inventory.gaps;
        assert_eq!(gaps.len(), 1, "{path}: {gaps:?}");
        assert_eq!(gaps[0].path, format!("/{path}"));
        assert!(gaps[0].reason.contains(expected), "{path}: {gaps:?}");
    };
    check("a/package-lock.json", "{", "not the JSON");
    check("a/package-lock.json", r#"{"packages":5}"#, "not the JSON");
    check("a/bun.lock", "[", "not the JSON");
    check("a/composer.lock", "[]x", "not the JSON");
    check("a/vendor/composer/installed.json", "{}x", "not the JSON");
    check("a/Cargo.lock", "[[package]]\nname = 5", "not the TOML");
    check("a/uv.lock", "= =", "not the TOML");
    check("a/pnpm-lock.yaml", "packages:\n\t- a", "line 2");
    check("a/pnpm-lock.yaml", "packages:\n  nonsense: {}\n", "no package");
    check("a/yarn.lock", "nonsense\n", "1 lines");
    check("a/gradle.lockfile", "nonsense\n", "1 lines");
    check("a/go.mod", "require x\n", "1 lines");
    check("a/specifications/x.gemspec", "eval(x)\n", "without a fixed name");
    check("a/environment.yml", "a: [", "line");
    let mut collector = Collector::new();
    collector.add("a/yarn.lock", b"\xff\xfe", None);
    let found = collector.finish(subject(), 1, Vec::new());
    assert!(found.inventory.gaps[0].reason.contains("UTF-8"));
}
