//! Trust policies (notaryproject/specifications, `trust-store-trust-policy.md`): which
//! signers are trusted for which repositories, and how strictly.

use std::path::Path;

use palisade_base::read_bounded;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::NotaryError as Error;
use super::store::StoreKind;
use super::subject::{self, Name};
use crate::json;

/// Largest policy, in bytes.
const POLICY_BYTES_MAX: u64 = 4 << 20;
/// Most statements of a policy, and most of each list in one.
const STATEMENTS_MAX: usize = 1024;

/// What a check that fails does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The signature is refused.
    Enforce,
    /// It is told.
    Log,
    /// It is not made.
    Skip,
}

/// How strictly a statement verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// That the chain is trusted and the identity is one that is.
    pub authenticity: Action,
    /// That the certificates were valid when it was signed.
    pub authentic_timestamp: Action,
    /// That the signature has not expired.
    pub expiry: Action,
    /// That no certificate was revoked.
    pub revocation: Action,
}

/// What is trusted for some repositories.
#[derive(Debug, Clone)]
pub struct Statement {
    /// Its name.
    pub name: String,
    pub(super) scopes: Vec<String>,
    /// `None`: nothing is verified (`skip`).
    pub level: Option<Level>,
    /// Whether time stamps count only when a certificate has expired.
    pub(super) after_expiry: bool,
    pub(super) stores: Vec<(StoreKind, String)>,
    /// `None`: anybody whom a store's authority certified.
    pub(super) identities: Option<Vec<Name>>,
}

/// A policy for images.
#[derive(Debug, Clone)]
pub struct NotaryPolicy {
    statements: Vec<Statement>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawPolicy {
    version: String,
    trust_policies: Vec<RawStatement>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawStatement {
    name: String,
    registry_scopes: Vec<String>,
    signature_verification: RawVerification,
    #[serde(default)]
    trust_stores: Vec<String>,
    #[serde(default)]
    trusted_identities: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawVerification {
    level: String,
    #[serde(default, rename = "override")]
    changes: Map<String, Value>,
    #[serde(default)]
    verify_timestamp: Option<String>,
}

impl Level {
    /// The level of that name; `None` for `skip`.
    fn named(name: &str) -> Result<Option<Self>, String> {
        use Action::{Enforce, Log};
        let level = |authenticity, rest| Self {
            authenticity,
            authentic_timestamp: rest,
            expiry: rest,
            revocation: rest,
        };
        Ok(Some(match name {
            "strict" => level(Enforce, Enforce),
            "permissive" => level(Enforce, Log),
            "audit" => level(Log, Log),
            "skip" => return Ok(None),
            _ => return Err("`level` is none of strict, permissive, audit, skip".into()),
        }))
    }

    fn change(&mut self, check: &str, action: &Value) -> Result<(), String> {
        let action = match action.as_str() {
            Some("enforce") => Action::Enforce,
            Some("log") => Action::Log,
            Some("skip") => Action::Skip,
            _ => return Err(format!("`override.{check}` is none of enforce, log, skip")),
        };
        let slot = match check {
            "authenticity" => &mut self.authenticity,
            "authenticTimestamp" => &mut self.authentic_timestamp,
            "expiry" => &mut self.expiry,
            "revocation" => &mut self.revocation,
            _ => return Err(format!("`override.{check}` is no check that can be changed")),
        };
        if action == Action::Skip && check != "revocation" {
            return Err(format!("`override.{check}` cannot be skipped, only logged"));
        }
        *slot = action;
        Ok(())
    }
}

impl NotaryPolicy {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let read = || read_bounded(std::fs::File::open(path)?, "trust policy", POLICY_BYTES_MAX);
        let bytes =
            read().map_err(|error| Error::Policy(format!("read `{}`: {error}", path.display())))?;
        Self::parse(&bytes)
    }

    /// Reads a policy of the version 1.0 for OCI artifacts.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let raw: RawPolicy = json::parse(bytes, POLICY_BYTES_MAX).map_err(Error::PolicyJson)?;
        if raw.version != "1.0" {
            let version: String = raw.version.chars().take(20).collect();
            return Err(Error::Policy(format!("version `{version}` is not supported")));
        }
        if raw.trust_policies.is_empty() || raw.trust_policies.len() > STATEMENTS_MAX {
            return Err(Error::Policy(format!("it has not 1 to {STATEMENTS_MAX} statements")));
        }
        let mut this = Self { statements: Vec::new() };
        for raw in raw.trust_policies {
            let name: String = raw.name.chars().take(100).collect();
            let wrong = |problem: String| Error::Policy(format!("statement `{name}`: {problem}"));
            let statement = raw.read().map_err(wrong)?;
            for other in &this.statements {
                if other.name == statement.name {
                    return Err(wrong("another statement has the same name".into()));
                }
                if let Some(scope) =
                    statement.scopes.iter().find(|scope| other.scopes.contains(scope))
                {
                    return Err(wrong(format!("`{scope}` is also in `{}`", other.name)));
                }
            }
            this.statements.push(statement);
        }
        Ok(this)
    }

    /// The statement about a repository (`registry.example/shop`): one that names it, else
    /// the one about all.
    pub fn statement(&self, repository: &str) -> Result<&Statement, Error> {
        let of = |scope: &str| {
            self.statements.iter().find(|one| one.scopes.iter().any(|own| own == scope))
        };
        of(repository).or_else(|| of("*")).ok_or_else(|| Error::NoStatement(repository.to_string()))
    }

    /// Every store that some statement names.
    pub(super) fn stores(&self) -> impl Iterator<Item = &(StoreKind, String)> {
        self.statements.iter().flat_map(|statement| &statement.stores)
    }
}

impl RawStatement {
    fn read(self) -> Result<Statement, String> {
        if self.name.is_empty() {
            return Err("it has no name".into());
        }
        let lists = [&self.registry_scopes, &self.trust_stores, &self.trusted_identities];
        if lists.iter().any(|list| list.len() > STATEMENTS_MAX) {
            return Err(format!("a list has more than {STATEMENTS_MAX} entries"));
        }
        check_scopes(&self.registry_scopes)?;
        let verification = self.signature_verification;
        let mut level = Level::named(&verification.level)?;
        for (check, action) in &verification.changes {
            match &mut level {
                None => return Err("`skip` cannot be changed by `override`".into()),
                Some(level) => level.change(check, action)?,
            }
        }
        let after_expiry = match verification.verify_timestamp.as_deref() {
            None | Some("" | "always") => false,
            Some("afterCertExpiry") => true,
            Some(_) => return Err("`verifyTimestamp` is none of always, afterCertExpiry".into()),
        };
        if level.is_none() {
            if self.registry_scopes.iter().any(|scope| scope == "*") {
                return Err("`skip` cannot be for all repositories (`*`)".into());
            }
            if !self.trust_stores.is_empty() || !self.trusted_identities.is_empty() {
                return Err("`skip` can have no stores and no identities".into());
            }
        } else if self.trust_stores.is_empty() || self.trusted_identities.is_empty() {
            return Err("`trustStores` or `trustedIdentities` is missing".into());
        }
        Ok(Statement {
            name: self.name,
            scopes: self.registry_scopes,
            level,
            after_expiry,
            stores: self.trust_stores.iter().map(|text| store(text)).collect::<Result<_, _>>()?,
            identities: identities(&self.trusted_identities)?,
        })
    }
}

/// Repositories, whole, or `*` alone.
fn check_scopes(scopes: &[String]) -> Result<(), String> {
    if scopes.is_empty() {
        return Err("`registryScopes` is missing".into());
    }
    for (index, scope) in scopes.iter().enumerate() {
        if scope == "*" && scopes.len() == 1 {
            continue;
        }
        let is_whole = scope.split_once('/').is_some_and(|(host, path)| {
            let host_ok = !host.is_empty()
                && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-:[]_".contains(c));
            let path_ok = !path.is_empty()
                && path
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c));
            host_ok && path_ok
        });
        if !is_whole {
            return Err(format!("`{scope}` is no whole repository (host/path), nor `*` alone"));
        }
        if scopes.iter().skip(index + 1).any(|other| other == scope) {
            return Err(format!("`{scope}` stands twice"));
        }
    }
    Ok(())
}

fn store(text: &str) -> Result<(StoreKind, String), String> {
    let (kind, name) = text.split_once(':').ok_or_else(|| format!("`{text}` is no KIND:NAME"))?;
    let kind = StoreKind::named(kind)
        .ok_or_else(|| format!("`{text}` is of none of the kinds ca, signingAuthority, tsa"))?;
    let is_name = !name.is_empty()
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if !is_name {
        return Err(format!("`{text}` names no folder"));
    }
    Ok((kind, name.to_string()))
}

fn identities(texts: &[String]) -> Result<Option<Vec<Name>>, String> {
    if texts.iter().any(|text| text == "*") {
        return if texts.len() == 1 {
            Ok(None)
        } else {
            Err("`*` stands beside other identities".into())
        };
    }
    let mut out: Vec<Name> = Vec::new();
    for text in texts {
        let name = text
            .strip_prefix("x509.subject:")
            .ok_or_else(|| format!("identity `{text}` is not `*` and no `x509.subject:`"))?;
        let name =
            subject::parse(name.trim()).map_err(|why| format!("identity `{text}`: {why}"))?;
        let overlaps =
            out.iter().any(|o| subject::contains(o, &name) || subject::contains(&name, o));
        if overlaps {
            return Err(format!("identity `{text}` overlaps with another"));
        }
        out.push(name);
    }
    Ok(Some(out))
}
