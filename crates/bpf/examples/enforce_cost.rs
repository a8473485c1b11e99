//! What enforcement costs: an open and close in a cgroup of its own, in CPU time of the caller,
//! with probes on opens and rules that do not match. Needs root and perl.
//!
//! Run it with `cargo run --release -p palisade-bpf --example enforce_cost`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "an example for people")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use palisade_bpf::enforce::{Action, EnforcedRule, Enforcer, Plan};
use palisade_bpf::{Interest, OpenFilter, Options, Sensor};
use palisade_rules::selector::{Atom, EventSelector, Input, Selector, Term, Test};

const N_CALLS: u32 = 200_000;
const N_ROUNDS: usize = 5;

fn text(input: Input, texts: &[String]) -> Atom {
    let equal = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    Atom { input, test: Test::Text { equal, prefixes: BTreeSet::new(), suffixes: BTreeSet::new() } }
}

/// `n` rules that ask for paths and names, and match nothing that is done here.
fn rules(n: u32) -> Plan {
    let rule = |number| {
        let paths: Vec<String> = (0..20).map(|i| format!("/etc/secret{number}-{i}")).collect();
        let names = [format!("program{number}")];
        let atoms = vec![text(Input::Path, &paths), text(Input::Comm, &names)];
        let event = EventSelector {
            event: "openat".into(),
            atoms,
            terms: vec![Term { need: 1, forbid: 2 }],
        };
        let selector = Selector { events: vec![event] };
        EnforcedRule { number, selector, action: Action::Kill, dry_run: true }
    };
    Plan { rules: (0..n).map(rule).collect() }
}

/// Nanoseconds of CPU for a call pair, made in the cgroup.
fn measure(cgroup: &Path) -> f64 {
    let code = format!(
        "for(1..{N_CALLS}){{open(F,'<','/dev/null');close F}} my($u,$s)=times; print $u+$s"
    );
    let script = format!("echo $$ > {}/cgroup.procs; exec perl -e \"$CODE\"", cgroup.display());
    let output = Command::new("bash").arg("-c").arg(script).env("CODE", code).output().unwrap();
    let seconds: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
    seconds * 1e9 / f64::from(N_CALLS)
}

fn main() {
    let mount = [PathBuf::from("/sys/fs/cgroup/unified"), PathBuf::from("/sys/fs/cgroup")]
        .into_iter()
        .find(|path| path.join("cgroup.procs").exists())
        .unwrap();
    let cgroup = mount.join(format!("palisade-cost-{}", std::process::id()));
    std::fs::create_dir(&cgroup).unwrap();
    let mut interest = Interest::default();
    interest.add("openat").unwrap();
    interest.opens = OpenFilter::All;
    let variants = [
        "no probes",
        "probes",
        "enforcement, not guarded",
        "guarded, no rules",
        "guarded, 1 rule",
        "guarded, 60 rules",
    ];
    let mut results = vec![Vec::new(); variants.len()];
    for _ in 0..N_ROUNDS {
        for (i, results) in results.iter_mut().enumerate() {
            let n_rules = [0, 0, 60, 0, 1, 60][i];
            let mut enforcer = Enforcer::load(&rules(n_rules)).unwrap();
            if i > 2 {
                enforcer.guard(&cgroup, &BTreeSet::new()).unwrap();
            }
            let enforcement = (i > 1).then(|| enforcer.tables());
            let options = Options { enforcement, ..Options::default() };
            let sensor = (i > 0).then(|| Sensor::load(&interest, &options).unwrap());
            results.push(measure(&cgroup));
            drop(sensor);
        }
    }
    let start = Instant::now();
    let mut enforcer = Enforcer::load(&rules(60)).unwrap();
    println!("load of 60 rules: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    let start = Instant::now();
    enforcer.replace(&rules(60)).unwrap();
    println!("replacing them: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    for (name, mut results) in variants.into_iter().zip(results) {
        results.sort_by(f64::total_cmp);
        println!("{name:26} {:7.0} ns an open and close", results[N_ROUNDS / 2]);
    }
    for _ in 0..50 {
        if std::fs::remove_dir(&cgroup).is_ok() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
