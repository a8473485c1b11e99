//! Checks of the structure of the workspace: `cargo xtask tidy`.
#![forbid(unsafe_code)]

mod tidy;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask tidy\n\n  tidy   checks crate arrows, dependency rules, file sizes, links and leftovers";

#[expect(clippy::print_stderr, clippy::print_stdout, reason = "a tool for the terminal")]
fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() != Some("tidy") {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    match tidy::run() {
        Ok(problems) if problems.is_empty() => {
            println!("tidy: the structure is as ARCHITECTURE.md says");
            ExitCode::SUCCESS
        }
        Ok(problems) => {
            for problem in &problems {
                eprintln!("tidy: {problem}");
            }
            eprintln!("tidy: {} problem(s)", problems.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(3)
        }
    }
}
