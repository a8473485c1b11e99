//! Compiles the probes: C to BPF objects, which the library embeds.
//!
//! Needs clang 14 or later; `llvm-strip` shortens the objects when it is there. Reads nothing but `probes/` and the
//! headers of libbpf-sys, writes nothing but `OUT_DIR`.
#![expect(
    clippy::disallowed_methods,
    reason = "cargo hands a build script its settings in the environment"
)]
#![expect(clippy::print_stderr, reason = "cargo shows a failed build script's standard error")]

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Compilers tried in this order, after `PALISADE_CLANG`.
const CLANGS: [&str; 8] =
    ["clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14", "clang", "clang-20"];
const STRIPS: [&str; 7] = [
    "llvm-strip-19",
    "llvm-strip-18",
    "llvm-strip-17",
    "llvm-strip-16",
    "llvm-strip-15",
    "llvm-strip-14",
    "llvm-strip",
];
const OBJECTS: [&str; 5] = ["sensor", "isolate", "enforce", "floor", "recorder"];
const NO_CLANG: &str = "no clang found, and the eBPF probes are C compiled by it\n\
    on Debian or Ubuntu: apt-get install clang llvm libelf-dev zlib1g-dev\n\
    or name a compiler: PALISADE_CLANG=/path/to/clang";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed=PALISADE_CLANG");
    let variable = |name: &str| env::var_os(name).ok_or(format!("cargo has not set {name}"));
    let source = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("probes");
    let out = PathBuf::from(variable("OUT_DIR")?);
    let headers = PathBuf::from(variable("DEP_BPF_INCLUDE")?);
    let entries = std::fs::read_dir(&source)
        .map_err(|error| format!("list {}: {error}", source.display()))?;
    println!("cargo::rerun-if-changed={}", source.display());
    for entry in entries.flatten() {
        println!("cargo::rerun-if-changed={}", entry.path().display());
    }
    let arch = match variable("CARGO_CFG_TARGET_ARCH")?.to_str() {
        Some("x86_64") => "x86",
        Some("aarch64") => "arm64",
        other => {
            return Err(format!(
                "the probes know x86_64 and aarch64, not {}",
                other.unwrap_or("?")
            ));
        }
    };
    let clang = find_clang().ok_or(NO_CLANG)?;
    for name in OBJECTS {
        let object = out.join(format!("{name}.bpf.o"));
        compile(&clang, arch, &headers, &source.join(format!("{name}.bpf.c")), &object)?;
        // Line information makes up most of an object; the type information that CO-RE needs stays.
        let _kept_if_absent = STRIPS.iter().any(|strip| {
            Command::new(strip).arg("-g").arg(&object).status().is_ok_and(|status| status.success())
        });
    }
    Ok(())
}

fn find_clang() -> Option<OsString> {
    if let Some(named) = env::var_os("PALISADE_CLANG") {
        return Some(named);
    }
    CLANGS.iter().map(OsString::from).find(|name| {
        Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
    })
}

fn compile(
    clang: &OsString,
    arch: &str,
    headers: &Path,
    source: &Path,
    object: &Path,
) -> Result<(), String> {
    let output = Command::new(clang)
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror"])
        // BPF_PROG declares the context and the arguments of every program, used or not.
        .args(["-Wno-unused-parameter", "-Wno-sign-compare", "-Wno-missing-declarations"])
        .args(["-ffile-prefix-map=/=", "-fno-ident"])
        .arg(format!("-D__TARGET_ARCH_{arch}"))
        .arg("-isystem")
        .arg(headers)
        .arg("-c")
        .arg(source)
        .arg("-o")
        .arg(object)
        .output()
        .map_err(|error| format!("run {}: {error}\n{NO_CLANG}", clang.to_string_lossy()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{} cannot compile {}\n{}",
        clang.to_string_lossy(),
        source.display(),
        String::from_utf8_lossy(&output.stderr)
    ))
}
