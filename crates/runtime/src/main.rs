//! `palisade-runtime` by itself: what engines call four times for each container.
//!
//! The same as `palisade runtime`, in a program small enough that starting it costs next to
//! nothing: the whole one has ninety thousand addresses to be put right at each start.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use palisade_runtime::oci;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // By whatever other name, it is an OCI runtime and nothing else.
    let (called, rest) = oci::called_as(&arguments)
        .unwrap_or(("palisade-runtime", arguments.get(1..).unwrap_or_default()));
    oci::hand_over(called, rest, settings().as_deref()).into()
}

/// The settings' file; engines give it to their runtimes in the environment.
#[expect(clippy::disallowed_methods, reason = "the one variable of this program")]
fn settings() -> Option<PathBuf> {
    std::env::var_os("PALISADE_RUNTIME_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from)
}
