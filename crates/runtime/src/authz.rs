//! Docker's authorization plugin: which calls of its API are allowed.
//!
//! The runtime judges what a container would be. It does not see that another runtime is
//! named, what a volume really mounts, or a plugin of the engine's being installed: those are
//! calls of the API, and this is where they are judged, by the same policy and with the same
//! exceptions. What the runtime sees as well is refused here already, so that nothing is
//! half-made.
//!
//! Docker does not hand over every body (CVE-2024-41110, CVE-2026-34040): a call that would
//! start something and comes without one is refused. It reads JSON as Go does; a body that Go
//! could read in another way than we do is refused ([`tree`]).
//!
//! Not judged: reading, `docker cp`, pulling, and what BuildKit does within a build, whose
//! containers the runtime confines.

mod create;
mod server;
mod tree;
mod uri;

use std::path::PathBuf;

use base64::Engine as _;
use palisade_base::Timestamp;
use palisade_harden::{ContainerKind, EngineFacts, Root, harden_container, judge_asked};
use palisade_policy::{Allowance, EngineMode, Policy};
use serde::Deserialize;
use serde_json::json;

use crate::oci::{Confinement, Settings, machine_facts};

pub use server::{BODY_BYTES_MAX, CONNECTIONS_MAX, Server};

use create::{Asked, BadBody};
use tree::Tree;
use uri::Call;

/// Reasons of a refusal that are shown.
const REASONS_SHOWN_MAX: usize = 6;

/// What Docker asks (`authorization.Request` of `github.com/docker/docker/pkg/authorization`).
#[derive(Debug, Default, Deserialize)]
pub struct Request {
    /// `POST`, …
    #[serde(rename = "RequestMethod")]
    pub method: String,
    /// Path and query.
    #[serde(rename = "RequestUri")]
    pub uri: String,
    /// The body, in Base64; absent when Docker did not hand it over.
    #[serde(rename = "RequestBody", default)]
    pub body: Option<String>,
    /// Who asks, when clients have certificates.
    #[serde(rename = "User", default)]
    pub user: String,
}

/// Judges calls.
#[derive(Debug)]
pub struct Authorizer {
    /// Where the runtime's settings are, which name the policy.
    pub settings: PathBuf,
    /// Runtimes that a client may name besides ours.
    pub runtimes: Vec<String>,
}

impl Authorizer {
    /// `Err`: refused, with the reason for Docker's user.
    pub fn decide(&self, request: &Request) -> Result<(), String> {
        if request.method != "POST" {
            return Ok(());
        }
        let call = Call::parse(&request.uri);
        let parts: Vec<&str> = call.parts.iter().map(String::as_str).collect();
        match parts[..] {
            ["containers", "create"] => self.create(&call, request),
            ["containers", _, "start"] if call.is_before(1, 24) => {
                Err("palisade: this version of the API can start a container with other settings \
                 than it was created with; use 1.24 or later"
                    .into())
            }
            ["containers", id, "exec"] => self.exec(id, request),
            ["containers", id, "update"] => self.update(id, request),
            ["volumes", "create"] => self.volume(request),
            ["services", "create"] | ["services", _, "update"] => self.service(request),
            ["plugins", "pull" | "create"]
            | ["plugins", .., "enable" | "upgrade" | "set" | "push"] => self.plugin(&call),
            ["build"] => self.build(&call),
            _ => Ok(()),
        }
    }

    fn policy(&self) -> Result<(Settings, Policy), String> {
        let settings = Settings::read(&self.settings).map_err(|error| crate::oci::why(&error))?;
        let policy = Policy::load(&settings.policy).map_err(|error| crate::oci::why(&error))?;
        Ok((settings, policy.policy))
    }

    fn create(&self, call: &Call, request: &Request) -> Result<(), String> {
        let body = body(request)?;
        let (_, policy) = self.policy()?;
        let mut engine = EngineFacts::unknown("", Timestamp::now());
        let name = call.query("name").map(|name| name.trim_start_matches('/').to_string());
        engine.name = name.filter(|name| !name.is_empty());
        let asked = Asked::of_create(&body, &self.runtimes, &policy, &mut engine);
        let asked = asked.map_err(unreadable)?;
        refuse(&policy, &engine, &asked, "container")
    }

    fn exec(&self, id: &str, request: &Request) -> Result<(), String> {
        let body = body(request)?;
        if !body.get("Privileged").and_then(Tree::truth).map_err(unreadable)?.unwrap_or(false) {
            return Ok(());
        }
        let (settings, policy) = self.policy()?;
        let mut asked = Asked::default();
        let what = "privileged mode gives the process the host";
        asked.ask("privileged", what, Allowance::Privileged);
        refuse(&policy, &known(&settings, id), &asked, "process")
    }

    fn update(&self, id: &str, request: &Request) -> Result<(), String> {
        let body = body(request)?;
        let (settings, policy) = self.policy()?;
        let asked = Asked::of_update(&body, &policy).map_err(unreadable)?;
        refuse(&policy, &known(&settings, id), &asked, "change")
    }

    fn volume(&self, request: &Request) -> Result<(), String> {
        let body = body(request)?;
        let (_, policy) = self.policy()?;
        let mut engine = EngineFacts::unknown("", Timestamp::now());
        let mut asked = Asked::default();
        asked.volume(&body, "Driver", "DriverOpts").map_err(unreadable)?;
        engine.name = body.get("Name").and_then(Tree::text).map_err(unreadable)?.map(Into::into);
        refuse(&policy, &engine, &asked, "volume")
    }

    fn service(&self, request: &Request) -> Result<(), String> {
        let body = body(request)?;
        let (_, policy) = self.policy()?;
        let mut engine = EngineFacts::unknown("", Timestamp::now());
        let asked = Asked::of_service(&body, &policy, &mut engine).map_err(unreadable)?;
        refuse(&policy, &engine, &asked, "service")
    }

    fn plugin(&self, call: &Call) -> Result<(), String> {
        let (_, policy) = self.policy()?;
        let mut engine = EngineFacts::unknown("", Timestamp::now());
        engine.name = call.query("name").or_else(|| call.query("remote")).map(str::to_string);
        let mut asked = Asked::default();
        let what = "a plugin of the engine runs with whatever rights it wants";
        asked.ask("plugins", what, Allowance::Privileged);
        refuse(&policy, &engine, &asked, "plugin")
    }

    fn build(&self, call: &Call) -> Result<(), String> {
        let (_, policy) = self.policy()?;
        let mut engine = EngineFacts::unknown("", Timestamp::now());
        engine.kind = ContainerKind::Build;
        let mut asked = Asked::default();
        if call.query("networkmode") == Some("host") {
            asked.host_namespace("network");
        }
        if call.query("cgroupparent").is_some_and(|parent| !parent.is_empty()) {
            let what = "the build would leave the engine's control group";
            asked.ask("limits", what, Allowance::Limits);
        }
        refuse(&policy, &engine, &asked, "build")
    }
}

/// The container that is there, as the runtime knows it.
fn known(settings: &Settings, id: &str) -> EngineFacts {
    let mut engine = EngineFacts::unknown(id, Timestamp::now());
    if let Some(confinement) = Confinement::read(&settings.state, id) {
        engine.name = confinement.name;
        engine.image = confinement.image;
    }
    engine
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
fn unreadable(bad: BadBody) -> String {
    format!("palisade: the body of this call is not as Docker's API has it: {}", bad.0)
}

fn body(request: &Request) -> Result<Tree, String> {
    let text = request.body.as_deref().unwrap_or_default();
    if text.is_empty() {
        return Err(
            "palisade: this call came without its body, so that it cannot be judged; send \
                    it as JSON, with a Content-Length, below 1 MiB"
                .into(),
        );
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(text);
    let bytes = bytes.map_err(|error| unreadable(BadBody(error.to_string())))?;
    let tree: Tree =
        serde_json::from_slice(&bytes).map_err(|error| unreadable(BadBody(error.to_string())))?;
    match tree {
        Tree::Map(_) => Ok(tree),
        _ => Err(unreadable(BadBody("it is no object".into()))),
    }
}

/// Refuses when the policy does, with every reason.
fn refuse(policy: &Policy, engine: &EngineFacts, asked: &Asked, what: &str) -> Result<(), String> {
    if policy.engines.mode == EngineMode::Report && asked.always.is_empty() {
        return Ok(());
    }
    let mut reasons: Vec<String> = asked.always.clone();
    if policy.engines.mode == EngineMode::Enforce {
        let mut engine = engine.clone();
        asked.resolve(&mut engine);
        engine.root = Root::Engines;
        let facts = machine_facts(policy)?;
        let mut refusals = judge_asked(&asked.by_name, policy, &engine);
        if let Err(refusal) = harden_container(asked.spec(), policy, &facts, &engine) {
            refusals.extend(refusal.reasons);
        }
        reasons
            .extend(refusals.iter().map(|r| format!("{} [{}]: {}", r.message, r.control, r.fix)));
    }
    if reasons.is_empty() {
        return Ok(());
    }
    let n_more = reasons.len().saturating_sub(REASONS_SHOWN_MAX);
    reasons.truncate(REASONS_SHOWN_MAX);
    if n_more > 0 {
        reasons.push(format!("and {n_more} more reasons"));
    }
    Err(format!("palisade: policy `{}` refuses this {what}: {}", policy.name, reasons.join("; ")))
}

/// What Docker is told.
pub(crate) fn answer(result: &Result<(), String>) -> serde_json::Value {
    match result {
        Ok(()) => json!({ "Allow": true }),
        Err(message) => json!({ "Allow": false, "Msg": message }),
    }
}

#[cfg(test)]
mod tests;
