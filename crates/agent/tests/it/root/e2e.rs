//! Falco's declarative live tests: the steps are done for real, on the host and in a
//! container, and the alert is compared with what the file expects.

use std::fmt::Write as _;

use palisade_agent::Detection;
use serde_json::Value;

use super::e2e_file::{Case, cases, text_of};
use super::stage::Kind;
use super::watcher::{Loading, Watcher, shown};
use super::{Tally, falco_rules, material};
use crate::support::is_root;

/// The process that does the steps of a test which names none.
const RUNNER: &str = "e2e-runner";

/// A case as scripts of the stage.
struct Scripts {
    /// Before the sensor's attention: files that must be there.
    before: String,
    /// The steps.
    act: String,
    after: String,
    /// The process that acts.
    process: String,
}

#[test]
fn every_case_fires_on_the_host_and_in_a_container() {
    let (true, Some(material)) = (is_root(), material()) else { return };
    let cases = cases(&material.join("e2e"));
    assert!(cases.len() > 150, "{} cases", cases.len());
    let rules = falco_rules(&material);
    let rules: Vec<_> = rules.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let fields: Vec<String> = cases
        .iter()
        .filter_map(|case| case.test["expectedOutcome"]["outputFields"].as_object())
        .flat_map(|fields| fields.keys().cloned())
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    let loading = Loading { fields: &fields, ..Loading::default() };
    let mut watcher = Watcher::start(&Kind::BOTH, &rules, &loading);
    let mut tally = Tally::default();
    for case in &cases {
        for kind in kinds(case) {
            let name = format!("{} on {kind:?}", case.name);
            if let Some(why) = skipped(case) {
                tally.skipped(&name, why);
                continue;
            }
            match check(&mut watcher, case, kind) {
                Ok(()) => tally.n_passed += 1,
                Err(why) => tally.failed(&name, &why),
            }
        }
    }
    tally.finish("live suite");
}

/// Where a case is to be tried: where it says, or everywhere.
fn kinds(case: &Case) -> Vec<Kind> {
    let context = case.test.get("context");
    let processes_alone = |context: &Value| context.get("container").is_none();
    match context {
        Some(context) if context["container"].is_object() => vec![Kind::Container],
        Some(context) if !processes_alone(context) => vec![Kind::Host],
        _ => Kind::BOTH.to_vec(),
    }
}

fn skipped(case: &Case) -> Option<&'static str> {
    let not_on = &case.test["runIf"]["arch"];
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { std::env::consts::ARCH };
    (not_on["op"] == "ne" && not_on["val"] == arch).then_some("not for this processor")
}

fn check(watcher: &mut Watcher, case: &Case, kind: Kind) -> Result<(), String> {
    let scripts = scripts(&case.test)?;
    let (_, status) = watcher.act(kind, &scripts.before);
    let (detections, acted) = watcher.act(kind, &scripts.act);
    watcher.act(kind, &scripts.after);
    if status != 0 || acted != 0 {
        return Err(format!("the scripts ended with {status} and {acted}: {}", scripts.act));
    }
    let of_rule: Vec<&Detection> = detections
        .iter()
        .filter(|detection| detection.rule.name == case.rule)
        .filter(|detection| {
            detection.process.as_ref().is_some_and(|process| process.name == scripts.process)
        })
        .collect();
    let Some(first) = of_rule.first() else {
        return Err(format!("`{}` has not fired\n{}", scripts.act, shown(&detections)));
    };
    let expected = &case.test["expectedOutcome"];
    if !first.rule.priority.to_string().eq_ignore_ascii_case(&text_of(&expected["priority"])) {
        return Err(format!("priority {}", first.rule.priority));
    }
    if first.rule.source != text_of(&expected["source"]) {
        return Err(format!("source {}", first.rule.source));
    }
    if !watcher.stage(kind).is_of(first) {
        return Err(format!("container {:?}", first.container));
    }
    let no_fields = serde_json::Map::new();
    let fields = expected["outputFields"].as_object().unwrap_or(&no_fields);
    let differs = |detection: &Detection| {
        fields.iter().find_map(|(name, expected)| {
            let actual = text_of(detection.output_fields.get(name).unwrap_or(&Value::Null));
            (actual != text_of(expected)).then(|| format!("{name} is `{actual}`, not {expected}"))
        })
    };
    match of_rule.iter().map(|detection| differs(detection)).find(Option::is_none) {
        Some(_) => Ok(()),
        None => Err(differs(first).unwrap_or_default()),
    }
}

/// What a case asks for, as scripts.
fn scripts(test: &Value) -> Result<Scripts, String> {
    let mut before = format!("{}\n:\n", text_of(&test["before"]));
    let mut after = String::from(":\n");
    let mut calls = String::new();
    for resource in test["resources"].as_array().into_iter().flatten() {
        let (made, removed, opening) = resource_scripts(resource)?;
        before += &made;
        after.insert_str(0, &removed);
        calls += &opening;
    }
    for step in test["steps"].as_array().into_iter().flatten() {
        calls += &step_call(step)?;
    }
    let processes = test["context"]["processes"].as_array().cloned().unwrap_or_default();
    let default = serde_json::json!({"name": RUNNER});
    let process = match &processes[..] {
        [] => &default,
        [process] => process,
        _ => return Err("chains of processes are not among these tests".into()),
    };
    let name = text_of(&process["name"]);
    let (program, argv0) = match text_of(&process["exe"]) {
        exe if exe.is_empty() => (format!("/opt/eg/{name}"), format!("/opt/eg/{name}")),
        exe => (format!("/opt/eg/{name}"), exe),
    };
    let _ = writeln!(before, "[ -e {program} ] || ln /opt/eg/act {program}");
    let arguments: Vec<String> = text_of(&process["args"]).split_whitespace().map(quote).collect();
    let arguments = arguments.join(" ");
    let act = match text_of(&process["user"]) {
        user if user.is_empty() || user == "root" => {
            let argv0 = quote(&argv0);
            format!("( export DO={}; exec -a {argv0} {program} {arguments} )", quote(&calls))
        }
        // With all capabilities, as a process of a privileged container may have them.
        user => {
            let calls = calls.replace('\'', "");
            let script = format!("become $(id -u {user}) DO=\\\"{calls}\\\" {program} {arguments}");
            format!("DO=\"{script}\" /opt/eg/act")
        }
    };
    Ok(Scripts { before, act, after, process: name })
}

/// What makes a resource, what removes it, and the calls that open it.
fn resource_scripts(resource: &Value) -> Result<(String, String, String), String> {
    let kind = (text_of(&resource["type"]), text_of(&resource["subtype"]));
    match (kind.0.as_str(), kind.1.as_str()) {
        ("fd", "file") => {
            let path = text_of(&resource["filePath"]);
            let folder = path.rsplit_once('/').map_or("/", |(folder, _)| folder);
            let made = format!("mkdir -p {folder}/\n[ -e {path} ] || : >>{path}\n");
            Ok((made, String::new(), String::new()))
        }
        ("fd", "directory") => Ok((
            format!("mkdir -p {}\n", text_of(&resource["dirPath"])),
            String::new(),
            String::new(),
        )),
        ("clientServer", _) if resource["l4Proto"] == "tcp4" => {
            let address = text_of(&resource["address"]);
            let calls = format!(
                "serve in:{address}; socket AF_INET SOCK_STREAM 0; connect $ in:{address}; "
            );
            // The stage's loopback has the address.
            Ok((String::new(), String::new(), calls))
        }
        other => Err(format!("unknown resource {other:?}")),
    }
}

fn step_call(step: &Value) -> Result<String, String> {
    let args = &step["args"];
    let text = |name: &str| format!("'{}'", text_of(&args[name]));
    let bare = |name: &str| text_of(&args[name]);
    let mode = match bare("mode") {
        mode if mode.is_empty() => "0".into(),
        mode => mode,
    };
    Ok(match text_of(&step["syscall"]).as_str() {
        "open" => format!("open {} {} {mode}; ", text("pathname"), bare("flags")),
        "openat" => format!("openat AT_FDCWD {} {} {mode}; ", text("pathname"), bare("flags")),
        "openat2" => {
            let how = &args["how"];
            let mode = text_of(&how["mode"]);
            let flags = match text_of(&how["flags"]) {
                flags if flags.is_empty() => bare("flags"),
                flags => flags,
            };
            let mode = if mode.is_empty() { "0".into() } else { mode };
            format!("openat2 AT_FDCWD {} how:{flags}:{mode}; ", text("pathname"))
        }
        "symlink" => format!("symlink {} {}; ", text("target"), text("linkPath")),
        "symlinkat" => format!("symlinkat {} AT_FDCWD {}; ", text("target"), text("linkPath")),
        "socket" => format!("socket {} {} {}; ", bare("domain"), bare("type"), bare("protocol")),
        other => return Err(format!("unknown call {other}")),
    })
}

/// For a shell.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
