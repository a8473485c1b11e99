//! Orders to services elsewhere, with a real SIGKILL before and after each request takes effect.

use std::cell::Cell;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use palisade_base::Timestamp;
use palisade_model::Container;
use palisade_model::incident::ActionResult;
use palisade_policy::playbook::{Act, Step};

use palisade_respond::hands::{Answer, Aws, BestNetwork, Cloud, Remotes, Request, Store};
use palisade_respond::order::{Engine, RunState, StepOutcome};
use palisade_respond::{
    BpfNetwork, Collected, Hands, KernelContainment, Order, SystemHands, Target,
};
use palisade_sys::cgroup::Hierarchies;
use serde_json::{Value, json};

fn nothing(_: &Order, _: &str, _: bool, _: &StepOutcome) {}

/// What is elsewhere: a file, which outlives who changes it.
struct Elsewhere(PathBuf);

impl Elsewhere {
    fn state(&self) -> Value {
        let text = std::fs::read_to_string(&self.0).unwrap_or_else(|_| "{}".into());
        serde_json::from_str(&text).unwrap()
    }

    /// Does what the request asks, as the services document it.
    fn apply(&self, request: &Request) -> Answer {
        let mut state = self.state();
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let document: Value = serde_json::from_str(&body).unwrap_or_default();
        let mut status = 200;
        let url = request.url.as_str();
        match request.method {
            "PATCH" if document.pointer("/spec/unschedulable").is_some() => {
                state["cordoned"] = document["spec"]["unschedulable"].clone();
            }
            "PATCH" => state["label"] = document["metadata"]["labels"]["tier"].clone(),
            "DELETE" if state["account"] == "gone" => status = 404,
            "DELETE" => state["account"] = json!("gone"),
            "POST" if url.ends_with("/serviceaccounts") && state["account"] == "fresh" => {
                status = 409;
            }
            "POST" if url.ends_with("/serviceaccounts") => state["account"] = json!("fresh"),
            _ if body.contains("Action=PutRolePolicy") => state["denied"] = json!(true),
            _ if body.contains("Action=DeleteRolePolicy") && state["denied"] != true => {
                status = 404;
            }
            _ if body.contains("Action=DeleteRolePolicy") => state["denied"] = Value::Null,
            _ if body.contains("Action=ModifyInstanceAttribute") => {
                state["aws"] = json!(body.contains("Value=true"));
            }
            _ if url.ends_with(":disable") => state["key"] = json!("disabled"),
            _ if url.ends_with(":enable") => state["key"] = Value::Null,
            _ if url.contains("setDeletionProtection") => {
                state["gcp"] = json!(url.contains("deletionProtection=true"));
            }
            _ if url.starts_with("https://chat.") => {
                state["messages"] = json!(state["messages"].as_u64().unwrap_or(0) + 1);
            }
            other => panic!("{other} {url} {body}"),
        }
        palisade_base::fs::write_atomic(&self.0, state.to_string().as_bytes(), 0o600).unwrap();
        Answer { status, body: Vec::new() }
    }
}

/// Lets `act` work with hands whose process is killed at the n-th point, if there are so many.
fn with_hands<T>(folder: &Path, left: usize, act: impl FnOnce(&mut dyn Hands) -> T) -> T {
    let hierarchies = Hierarchies::detect().unwrap();
    let network = BestNetwork::new(BpfNetwork::default(), &folder.join("nft"));
    let containment = KernelContainment::new(&network);
    let mut collect = |_: &Order, _: &Target, _: bool, _: Duration| -> Result<Collected, String> {
        Err("none".into())
    };
    let elsewhere = Elsewhere(folder.join("elsewhere.json"));
    let left = Cell::new(left);
    let point = || {
        if left.get() == 0 {
            let own = rustix::process::getpid();
            let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
        }
        left.set(left.get() - 1);
    };
    let mut send = |request: &Request, _: Duration| {
        point();
        let answer = elsewhere.apply(request);
        point();
        Ok(answer)
    };
    let remotes = Remotes {
        kubernetes: Some(Cloud { server: "https://cluster".into(), token_file: "/none".into() }),
        gcp: Some(Cloud { server: String::new(), token_file: "/none".into() }),
        aws: Some(Aws {
            region: "eu-west-1".into(),
            credentials_file: "/none".into(),
            endpoint: None,
        }),
        ..Remotes::default()
    };
    let mut hands = SystemHands {
        hierarchies: &hierarchies,
        containment: &containment,
        collect: &mut collect,
        store: Store::new(folder),
        snapshots: folder.join("snapshots"),
        upper: &|_: &Container| None,
        remotes: &remotes,
        send: &mut send,
    };
    act(&mut hands)
}

fn order() -> Order {
    let text = |text: &str| text.to_string();
    let acts = vec![
        Act::Cordon { node: text("node-1") },
        Act::LabelNode { node: text("node-1"), key: text("tier"), value: text("seized") },
        Act::RevokeServiceAccount { namespace: Some(text("shop")), account: text("web") },
        Act::RevokeAwsSessions { role: text("web"), before: Some(Timestamp::now()) },
        Act::DisableGcpKey { account: text("web@shop.iam.gserviceaccount.com"), key: text("k1") },
        Act::ProtectAwsInstance { instance: text("i-0123") },
        Act::ProtectGcpInstance { project: text("shop"), zone: text("z"), instance: text("vm") },
        Act::Notify { url: text("https://chat.example/hook"), text: text("seized") },
    ];
    let first = Step::of("first", Act::Cordon { node: text("node-1") });
    let mut order = Order::by_hand(first, None, ("test", "test"), Timestamp::now()).unwrap();
    order.steps = acts.into_iter().map(|act| Step::of(act.name(), act)).collect();
    order
}

/// The process that is killed: not a test unless it is told where.
#[test]
#[expect(clippy::disallowed_methods, reason = "the parent tells its child by the environment")]
fn remote_victim() {
    let Ok(folder) = std::env::var("PALISADE_TEST_REMOTE_VICTIM") else { return };
    let folder = PathBuf::from(folder);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let order: Order = serde_json::from_str(&read("order.json")).unwrap();
    let left: usize = read("left").parse().unwrap();
    let is_undo = read("undo") == "true";
    with_hands(&folder, if is_undo { usize::MAX } else { left }, |hands| {
        let mut engine = Engine::open(&folder).unwrap();
        engine.submit(&order, Timestamp::now()).unwrap();
        engine.advance(&order.id, &Timestamp::now, hands, &mut nothing).unwrap();
    });
    if is_undo {
        with_hands(&folder, left, |hands| {
            let mut engine = Engine::open(&folder).unwrap();
            engine.undo(&order.id, "test", &Timestamp::now, hands, &mut nothing).unwrap();
        });
    }
}

/// Runs the victim; whether it was killed.
fn run_victim(folder: &Path, order: &Order, left: usize, undo: bool) -> bool {
    std::fs::write(folder.join("order.json"), serde_json::to_vec(order).unwrap()).unwrap();
    std::fs::write(folder.join("left"), left.to_string()).unwrap();
    std::fs::write(folder.join("undo"), undo.to_string()).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "orders_remote::remote_victim", "--nocapture"])
        .env("PALISADE_TEST_REMOTE_VICTIM", folder)
        .output()
        .unwrap();
    let killed = output.status.signal() == Some(9);
    assert!(killed || output.status.success(), "{output:?}");
    killed
}

/// Kills at every point, lets the next process go on, and looks; how often was killed.
fn killed_everywhere(undo: bool, look: impl Fn(&Engine, &Order, &Value)) -> Option<usize> {
    if Hierarchies::detect().is_err() {
        eprintln!("skipped: no control group hierarchy is mounted");
        return None;
    }
    for left in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let order = order();
        let killed = run_victim(folder.path(), &order, left, undo);
        with_hands(folder.path(), usize::MAX, |hands| {
            let mut engine = Engine::open(folder.path()).unwrap();
            engine.tick(&Timestamp::now, hands, &mut nothing).unwrap();
            let state = Elsewhere(folder.path().join("elsewhere.json")).state();
            eprintln!("killed at point {left}: {killed}: {state}");
            look(&engine, &order, &state);
        });
        if !killed {
            return Some(left);
        }
    }
    None
}

#[test]
fn killed_around_every_request_it_is_completed() {
    let n = killed_everywhere(false, |engine, order, state| {
        let run = engine.run(&order.id).unwrap();
        assert_eq!(run.state, RunState::Done);
        for (step, view) in &run.steps {
            let outcome = view.outcome.as_ref().unwrap();
            assert_ne!(outcome.result, ActionResult::Failed, "{step}: {outcome:?}");
        }
        let n_messages = state["messages"].as_u64().unwrap();
        assert!((1..=2).contains(&n_messages), "said again only when nobody knows that it was");
        let mut rest = state.clone();
        rest.as_object_mut().unwrap().remove("messages");
        let expected = json!({
            "cordoned": true, "label": "seized", "account": "fresh", "denied": true,
            "key": "disabled", "aws": true, "gcp": true,
        });
        assert_eq!(rest, expected);
    });
    // Nine requests: an account is deleted and made anew.
    assert!(n.is_none_or(|n| n == 2 * 9), "{n:?}");
}

#[test]
fn killed_around_every_request_of_undoing_it_is_undone() {
    let n = killed_everywhere(true, |engine, order, state| {
        assert_eq!(engine.run(&order.id).unwrap().state, RunState::Undone);
        for key in ["cordoned", "label", "denied", "key"] {
            assert_eq!(state[key], Value::Null, "{key}");
        }
        assert_eq!((&state["aws"], &state["gcp"]), (&json!(false), &json!(false)));
        assert_eq!(state["account"], "fresh", "a revoked token does not come back");
        assert_eq!(state["messages"], 1);
    });
    assert!(n.is_none_or(|n| n == 2 * 6), "{n:?}");
}
