//! Programs that the tools themselves built: by the Go linker where there is one, and by
//! rustc with a section as cargo-auditable adds it.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use palisade_model::symbols::{FOLDER, function_hash};
use palisade_packages::program::symbols::{go_name, rust_name};
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

const KIT: &str = r#"package kit

import "strings"

type Set[T comparable] struct{ items map[T]bool }

func (s *Set[T]) Add(item T) { if s.items == nil { s.items = map[T]bool{} }; s.items[item] = true }

type Box struct{ n int }

func (b Box) Tiny() int { return b.n + 1 }

//go:noinline
func (b *Box) Method(n int) int { b.n += n; return b.n }

//go:noinline
func (b *Box) Unused(n int) int { return b.n * n }

func Inlined(a int) int { return a*3 + 1 }

func Closure(a int) func() string { return func() string { return strings.Repeat("x", a) } }

//go:noinline
func Dead(a string) string { return strings.ToUpper(a) + a }
"#;

const KIT_MAIN: &str = r#"package main

import (
	"example.com/kit"
	"net/url"
	"os"
)

func main() {
	var set kit.Set[string]
	set.Add(os.Args[0])
	box := kit.Box{}
	value := box.Method
	_, err := url.Parse(os.Args[0])
	println(kit.Inlined(len(os.Args)), box.Tiny(), value(1), kit.Closure(2)(), err == nil)
}
"#;

#[test]
fn functions_of_go_programs() {
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
    write("kit/kit.go", KIT);
    write("main.go", KIT_MAIN);
    let build = |flags: &str, more: &[&str]| {
        let mut command = Command::new("go");
        command.args(["build", "-ldflags", flags, "-o", "shop"]).args(more).arg(".");
        command.current_dir(folder.path()).env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=mod");
        command.env("GOCACHE", folder.path().join("cache")).env("GOTOOLCHAIN", "local");
        run(&mut command)?;
        Some(std::fs::read(folder.path().join("shop")).unwrap())
    };
    let functions = |bytes: &[u8]| {
        let found = examine("usr/local/bin/shop", bytes).inventory;
        assert_eq!(found.programs.len(), 1);
        let program = found.programs.into_iter().next().unwrap();
        assert_eq!(program.path, "/usr/local/bin/shop");
        assert!(program.has_folders);
        assert_eq!(program.os.as_deref(), Some("linux"));
        program.functions.hashes()
    };
    let Some(whole) = build("", &[]) else {
        eprintln!("skipped: this machine has no Go");
        return;
    };
    let mut nm = Command::new("go");
    let nm = nm.args(["tool", "nm", "shop"]).current_dir(folder.path()).output().unwrap();
    let known = functions(&whole);
    let has = |known: &[u64], package: &str, name: &str| {
        known.binary_search(&function_hash(package, name)).is_ok()
    };
    // Each function that the linker's own symbol table names is there.
    let symbols = String::from_utf8(nm.stdout).unwrap();
    let mut n_asked = 0;
    for line in symbols.lines() {
        let Some((_, name)) = line.split_once(" T ").or_else(|| line.split_once(" t ")) else {
            continue;
        };
        let Some(name) = name.trim().strip_prefix("net/url.") else { continue };
        n_asked += 1;
        assert!(has(&known, "net/url", &go_name(name)), "{name}");
    }
    assert!(n_asked > 10, "{n_asked}");
    // Stripped, and as a position-independent program, it answers the same.
    for bytes in [build("-s -w", &[]).unwrap(), build("-s", &["-buildmode=pie"]).unwrap(), whole] {
        let known = functions(&bytes);
        for name in ["Set.Add", "Box.Method", "Box.Tiny", "Inlined", "Box", ""] {
            assert!(has(&known, "example.com/kit", name), "{name}");
        }
        // A closure whose function was inlined: its name may be gone, its file is not.
        assert!(has(&known, FOLDER, "kit") && has(&known, FOLDER, "strings"));
        assert!(!has(&known, FOLDER, "http"));
        assert!(has(&known, "example.com/shop", "main") && has(&known, "main", "main"));
        for name in ["Dead", "Box.Unused", "Nothing"] {
            assert!(!has(&known, "example.com/kit", name), "{name}");
        }
        assert!(!has(&known, "net/http", "") && has(&known, "net/url", "Parse"));
    }
    // Nobody can look into what is not held whole.
    let mut large = build("-s -w", &[]).unwrap();
    large.append(&mut vec![0; (palisade_packages::program::WHOLE_BYTES_MAX as usize) + 1]);
    let programs = examine("usr/local/bin/shop", &large).inventory.programs;
    assert!(programs[0].doubt.as_ref().unwrap().contains("too large"), "{programs:?}");
    assert!(programs[0].functions.is_empty());
}

#[test]
fn functions_of_this_machines_programs() {
    for path in ["/usr/bin/containerd", "/usr/bin/podman", "/usr/sbin/runc"] {
        let Ok(bytes) = std::fs::read(path) else {
            eprintln!("skipped: this machine has no {path}");
            continue;
        };
        let start = std::time::Instant::now();
        let found = examine(path.trim_start_matches('/'), &bytes).inventory;
        let [program] = found.programs.as_slice() else { panic!("{path}: no program") };
        let known = program.functions.hashes();
        eprintln!(
            "{path}: {} hashes, {} bytes, {:?}",
            known.len(),
            program.functions.n_bytes(),
            start.elapsed()
        );
        assert!(known.len() > 5000, "{path}: {}", known.len());
        assert!(program.has_folders, "{path}: {:?}", program.doubt);
        for (package, name) in [("runtime", "goexit"), ("os", "File.Write"), ("os", "")] {
            assert!(known.binary_search(&function_hash(package, name)).is_ok(), "{path} {name}");
        }
        assert!(known.binary_search(&function_hash("net/http/cgi", "")).is_err(), "{path}");
    }
}

#[test]
fn functions_of_rust_programs() {
    let folder = tempfile::tempdir().unwrap();
    let record = br#"{"packages":[{"name":"my-shop","version":"0.1.0"}]}"#;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(record).unwrap();
    let packed = encoder.finish().unwrap();
    let source = format!(
        "#[used]\n#[unsafe(link_section = \".dep-v0\")]\nstatic RECORD: [u8; {}] = {packed:?};\n{}",
        packed.len(),
        "pub struct Cart<T>(Vec<T>);\nimpl<T> Cart<T> {\n#[inline(never)]\npub fn put(&mut self, item: T) { self.0.push(item) }\n}\nimpl<T> Drop for Cart<T> {\n#[inline(never)]\nfn drop(&mut self) { std::hint::black_box(self.0.len()); }\n}\nfn main() { let mut cart = Cart(vec![]); cart.put(std::env::args().count()); }\n"
    );
    std::fs::write(folder.path().join("main.rs"), source).unwrap();
    for mangling in ["legacy", "v0"] {
        for strip in ["none", "symbols"] {
            let mut command = Command::new("rustc");
            command.args(["--edition", "2024", "--crate-name", "my_shop", "main.rs", "-o", "main"]);
            command.args(["-C", &format!("strip={strip}")]);
            if mangling == "v0" {
                command.args(["-C", "symbol-mangling-version=v0"]);
            }
            if run(command.current_dir(folder.path())).is_none() {
                eprintln!("skipped: this machine has no rustc");
                return;
            }
            let bytes = std::fs::read(folder.path().join("main")).unwrap();
            let programs = examine("usr/bin/shop", &bytes).inventory.programs;
            assert_eq!(programs.len(), 1, "{mangling}");
            let known = programs[0].functions.hashes();
            let has = |name: &str| {
                known.binary_search(&function_hash("my_shop", &rust_name(name))).is_ok()
            };
            assert!(programs[0].doubt.is_some());
            let is_there = strip == "none";
            for name in ["my_shop::Cart::put", "my_shop::Cart<T>::put", "my_shop::Cart::drop"] {
                assert_eq!(has(name), is_there, "{mangling} {strip} {name}");
            }
            assert!(!has("my_shop::Cart::take"));
        }
    }
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
