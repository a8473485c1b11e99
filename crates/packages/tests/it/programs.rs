//! Programs that the tools themselves built: by the Go linker where there is one, and by
//! rustc with a section as cargo-auditable adds it.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use palisade_packages::{Collected, Collector};

use crate::subject;

fn examine(path: &str, bytes: &[u8]) -> Collected {
    let mut collector = Collector::new();
    let head = &bytes[..bytes.len().min(Collector::PROGRAM_HEAD_BYTES)];
    if collector.wants_program(path, 0o755) && Collector::is_program(head) {
        let mut rest = &bytes[head.len()..];
        collector.add_program(path, None, bytes.len() as u64, head, &mut rest).unwrap();
    }
    collector.finish(subject(), 1, Vec::new())
}

fn purls(found: &Collected) -> Vec<String> {
    found.inventory.packages.iter().map(|one| one.purl.clone()).collect()
}

/// Runs a tool; nothing where this machine has none.
fn run(command: &mut Command) -> Option<()> {
    let output = command.output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(())
}

#[test]
fn go_programs() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "go.mod",
        "module example.com/shop\n\ngo 1.19\n\nrequire example.com/kit v1.2.3\n\nreplace example.com/kit v1.2.3 => ./kit\n",
    );
    write("kit/go.mod", "module example.com/kit\n\ngo 1.19\n");
    write("kit/kit.go", "package kit\n\nfunc Name() string { return \"kit\" }\n");
    write(
        "main.go",
        "package main\n\nimport \"example.com/kit\"\n\nvar version = \"dev\"\n\nfunc main() { println(kit.Name(), version) }\n",
    );
    let mut command = Command::new("go");
    command.args(["build", "-ldflags", "-s -w -X main.version=v1.0.7", "-o", "shop", "."]);
    command.current_dir(folder.path()).env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=mod");
    command.env("GOCACHE", folder.path().join("cache")).env("GOTOOLCHAIN", "local");
    if run(&mut command).is_none() {
        eprintln!("skipped: this machine has no Go");
        return;
    }
    let bytes = std::fs::read(folder.path().join("shop")).unwrap();
    let found = purls(&examine("usr/local/bin/shop", &bytes));
    assert!(found.contains(&"pkg:golang/example.com/shop@v1.0.7".to_string()), "{found:?}");
    assert!(found.iter().any(|purl| purl.starts_with("pkg:golang/stdlib@1.")), "{found:?}");
    assert_eq!(found.len(), 2, "{found:?}");
    // The same program, beyond what is held whole.
    let mut large = bytes;
    let mut padding = vec![0; (palisade_packages::program::WHOLE_BYTES_MAX as usize) + 1];
    large.append(&mut padding);
    assert_eq!(purls(&examine("usr/local/bin/shop", &large)), found);
}

/// A Rust program with the section that cargo-auditable adds, of `record` compressed.
fn rust_program(record: &[u8]) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(record).unwrap();
    let packed = encoder.finish().unwrap();
    let source = format!(
        "#[used]\n#[unsafe(link_section = \".dep-v0\")]\nstatic RECORD: [u8; {}] = {packed:?};\nfn main() {{}}\n",
        packed.len()
    );
    std::fs::write(folder.path().join("main.rs"), source).unwrap();
    let mut command = Command::new("rustc");
    command.args(["--edition", "2024", "main.rs", "-o", "main", "-C", "strip=symbols"]);
    run(command.current_dir(folder.path()))?;
    Some(std::fs::read(folder.path().join("main")).unwrap())
}

#[test]
fn rust_programs() {
    let record = br#"{"packages":[
        {"name":"shop","version":"0.1.0","source":"local","root":true,"dependencies":[1,2]},
        {"name":"serde","version":"1.0.200","source":"crates.io"},
        {"name":"cc","version":"1.0.90","source":"crates.io","kind":"build"}]}"#;
    let Some(bytes) = rust_program(record) else {
        eprintln!("skipped: this machine has no rustc");
        return;
    };
    let found = examine("usr/local/bin/shop", &bytes);
    assert_eq!(purls(&found), ["pkg:cargo/serde@1.0.200", "pkg:cargo/shop@0.1.0"]);
    assert_eq!(found.inventory.gaps, []);
    let broken = rust_program(b"no JSON").unwrap();
    let gaps = examine("usr/local/bin/shop", &broken).inventory.gaps;
    assert!(gaps[0].reason.contains("not JSON"), "{gaps:?}");
    // A record that inflates without end.
    let endless = rust_program(&vec![b' '; 20 << 20]).unwrap();
    let gaps = examine("usr/local/bin/shop", &endless).inventory.gaps;
    assert!(gaps[0].reason.contains("too large"), "{gaps:?}");
}

#[test]
fn this_machines_python_states_its_version() {
    let Ok(folder) = std::fs::read_dir("/usr/bin") else {
        return;
    };
    for path in folder.map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.starts_with("python3.") || name.ends_with("-config") || path.is_symlink() {
            continue;
        }
        let output = Command::new(&path).arg("--version").output().unwrap();
        let stated = String::from_utf8(output.stdout).unwrap();
        let expected =
            format!("pkg:generic/python@{}", stated.trim().trim_start_matches("Python "));
        let found = examine(&format!("opt/bin/{name}"), &std::fs::read(&path).unwrap());
        assert_eq!(purls(&found), [expected], "{name}");
    }
}

#[test]
fn what_is_no_program_is_not_asked_for() {
    let collector = Collector::new();
    assert!(collector.wants_program("a", 0o755));
    assert!(!collector.wants_program("a", 0o644));
    assert!(collector.wants_program("usr/lib/libcrypto.so.3", 0o644));
    assert!(Collector::is_program(b"\x7fELF"));
    assert!(!Collector::is_program(b"#!/b"));
    assert!(!Collector::is_program(b""));
    // Cut and changed programs never panic.
    let bytes = std::fs::read(Path::new("/proc/self/exe")).unwrap();
    let part = &bytes[..bytes.len().min(1 << 20)];
    for cut in (0..part.len()).step_by(65_521) {
        let _ = examine("a", &part[..cut]);
    }
    for at in 0..600 {
        let mut changed = part[..65_536].to_vec();
        changed[at] ^= 0xff;
        let _ = examine("a", &changed);
    }
}
