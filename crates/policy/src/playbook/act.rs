//! What a response can do, as data: each action with what it needs, and what undoes it.
//!
//! An [`Act`] is written into plans and into the audit log before it is carried out, so it
//! holds everything that carrying out and undoing need. What a person or a playbook leaves
//! out because the incident says it (the image's digest, the process) is filled in by the
//! plan; an act that still lacks something is refused before anything is done.

use std::fmt;
use std::net::IpAddr;

use palisade_base::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Act {
    /// Stops every process of the container where it stands.
    Freeze,
    /// Lets every process of the container go on.
    Unfreeze,
    /// Denies all network traffic of the container but that of `allow`.
    Isolate {
        /// Addresses of responders that may still be spoken with.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        allow: Vec<IpAddr>,
    },
    /// Gives the network back.
    Unisolate,
    /// Ends one process of the container.
    KillProcess {
        /// Its number on the host; the plan takes the alert's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
        /// When it started: a number that was reused is not killed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started: Option<Timestamp>,
    },
    /// Ends one process of the container and everything that it started.
    KillTree {
        /// Its number on the host; the plan takes the alert's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
        /// When it started.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started: Option<Timestamp>,
    },
    /// Ends every process of the container.
    Kill,
    /// Collects a signed evidence bundle.
    Evidence,
    /// Writes what the container changed in its file system as an image layer.
    Snapshot,
    /// Lets no container start from the image.
    QuarantineImage {
        /// Digest of its manifest or index; the plan takes the container's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<Digest>,
    },
    /// Lets containers start from the image again.
    ReleaseImage {
        /// Digest of its manifest or index.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<Digest>,
    },
    /// Lets no process of a container start a program with this content.
    BlockExecutable {
        /// SHA-256 of the file.
        sha256: Digest,
    },
    /// Lets programs with this content start again.
    UnblockExecutable {
        /// SHA-256 of the file.
        sha256: Digest,
    },
    /// Drops the container's traffic with a destination.
    BlockDestination {
        /// An address, or a network as `10.0.0.0/8`.
        to: String,
    },
    /// Lets traffic with the destination through again.
    UnblockDestination {
        /// An address or a network.
        to: String,
    },
    /// Keeps the container from being stopped and removed.
    Protect,
    /// Lets the container be stopped and removed again.
    Unprotect,
    /// Takes a node out of Kubernetes' scheduling.
    Cordon {
        /// The node.
        node: String,
    },
    /// Puts a node back.
    Uncordon {
        /// The node.
        node: String,
    },
    /// Puts a label on a node of Kubernetes.
    LabelNode {
        /// The node.
        node: String,
        /// The label's key.
        key: String,
        /// The label's value.
        value: String,
    },
    /// Takes a label from a node.
    UnlabelNode {
        /// The node.
        node: String,
        /// The label's key.
        key: String,
    },
    /// Makes every token of a Kubernetes service account worthless, by making it anew.
    RevokeServiceAccount {
        /// Its namespace; the plan takes the pod's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        /// Its name.
        account: String,
    },
    /// Denies everything to the sessions of an AWS role that were issued up to now.
    RevokeAwsSessions {
        /// The role's name.
        role: String,
        /// Sessions issued before this time; the plan takes its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<Timestamp>,
    },
    /// Takes that denial away.
    AllowAwsSessions {
        /// The role's name.
        role: String,
    },
    /// Disables a key of a Google Cloud service account.
    DisableGcpKey {
        /// The account's mail address.
        account: String,
        /// The key's id.
        key: String,
    },
    /// Enables the key again.
    EnableGcpKey {
        /// The account's mail address.
        account: String,
        /// The key's id.
        key: String,
    },
    /// Keeps an AWS instance from being terminated over the API.
    ProtectAwsInstance {
        /// The instance's id.
        instance: String,
    },
    /// Lets an AWS instance be terminated again.
    UnprotectAwsInstance {
        /// The instance's id.
        instance: String,
    },
    /// Keeps a Google Cloud instance from being deleted.
    ProtectGcpInstance {
        /// The project.
        project: String,
        /// The zone.
        zone: String,
        /// The instance's name.
        instance: String,
    },
    /// Lets a Google Cloud instance be deleted again.
    UnprotectGcpInstance {
        /// The project.
        project: String,
        /// The zone.
        zone: String,
        /// The instance's name.
        instance: String,
    },
    /// Runs a program of the host with the plan as JSON on its standard input.
    Hook {
        /// Program and arguments; no shell is between.
        command: Vec<String>,
    },
    /// Posts a message as JSON.
    Notify {
        /// Where to.
        url: String,
        /// What to say.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        text: String,
    },
}

impl Act {
    /// The name in playbooks, in the audit log and on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Unfreeze => "unfreeze",
            Self::Isolate { .. } => "isolate",
            Self::Unisolate => "unisolate",
            Self::KillProcess { .. } => "kill-process",
            Self::KillTree { .. } => "kill-tree",
            Self::Kill => "kill",
            Self::Evidence => "evidence",
            Self::Snapshot => "snapshot",
            Self::QuarantineImage { .. } => "quarantine-image",
            Self::ReleaseImage { .. } => "release-image",
            Self::BlockExecutable { .. } => "block-executable",
            Self::UnblockExecutable { .. } => "unblock-executable",
            Self::BlockDestination { .. } => "block-destination",
            Self::UnblockDestination { .. } => "unblock-destination",
            Self::Protect => "protect",
            Self::Unprotect => "unprotect",
            Self::Cordon { .. } => "cordon",
            Self::Uncordon { .. } => "uncordon",
            Self::LabelNode { .. } => "label-node",
            Self::UnlabelNode { .. } => "unlabel-node",
            Self::RevokeServiceAccount { .. } => "revoke-service-account",
            Self::RevokeAwsSessions { .. } => "revoke-aws-sessions",
            Self::AllowAwsSessions { .. } => "allow-aws-sessions",
            Self::DisableGcpKey { .. } => "disable-gcp-key",
            Self::EnableGcpKey { .. } => "enable-gcp-key",
            Self::ProtectAwsInstance { .. } => "protect-aws-instance",
            Self::UnprotectAwsInstance { .. } => "unprotect-aws-instance",
            Self::ProtectGcpInstance { .. } => "protect-gcp-instance",
            Self::UnprotectGcpInstance { .. } => "unprotect-gcp-instance",
            Self::Hook { .. } => "hook",
            Self::Notify { .. } => "notify",
        }
    }

    /// What takes it back; `None` where nature does not allow it.
    pub fn inverse(&self) -> Option<Self> {
        Some(match self.clone() {
            Self::Freeze => Self::Unfreeze,
            Self::Isolate { .. } => Self::Unisolate,
            Self::QuarantineImage { digest } => Self::ReleaseImage { digest },
            Self::BlockExecutable { sha256 } => Self::UnblockExecutable { sha256 },
            Self::BlockDestination { to } => Self::UnblockDestination { to },
            Self::Protect => Self::Unprotect,
            Self::Cordon { node } => Self::Uncordon { node },
            Self::LabelNode { node, key, .. } => Self::UnlabelNode { node, key },
            Self::RevokeAwsSessions { role, .. } => Self::AllowAwsSessions { role },
            Self::DisableGcpKey { account, key } => Self::EnableGcpKey { account, key },
            Self::ProtectAwsInstance { instance } => Self::UnprotectAwsInstance { instance },
            Self::ProtectGcpInstance { project, zone, instance } => {
                Self::UnprotectGcpInstance { project, zone, instance }
            }
            _ => return None,
        })
    }

    /// Whether it is done to one container of this host, and so needs one.
    pub fn needs_container(&self) -> bool {
        matches!(
            self,
            Self::Freeze
                | Self::Unfreeze
                | Self::Isolate { .. }
                | Self::Unisolate
                | Self::KillProcess { .. }
                | Self::KillTree { .. }
                | Self::Kill
                | Self::Evidence
                | Self::Snapshot
                | Self::BlockDestination { .. }
                | Self::UnblockDestination { .. }
                | Self::Protect
                | Self::Unprotect
        )
    }

    /// Whether it is a request to a service elsewhere.
    pub fn is_remote(&self) -> bool {
        matches!(
            self,
            Self::Cordon { .. }
                | Self::Uncordon { .. }
                | Self::LabelNode { .. }
                | Self::UnlabelNode { .. }
                | Self::RevokeServiceAccount { .. }
                | Self::RevokeAwsSessions { .. }
                | Self::AllowAwsSessions { .. }
                | Self::DisableGcpKey { .. }
                | Self::EnableGcpKey { .. }
                | Self::ProtectAwsInstance { .. }
                | Self::UnprotectAwsInstance { .. }
                | Self::ProtectGcpInstance { .. }
                | Self::UnprotectGcpInstance { .. }
                | Self::Notify { .. }
        )
    }

    /// When to give up, in milliseconds from its start, unless a step says otherwise.
    pub fn deadline_ms(&self) -> u64 {
        match self {
            Self::Freeze | Self::Unfreeze => 500,
            Self::Isolate { .. } | Self::Unisolate => 2_000,
            Self::Evidence | Self::Snapshot => 60_000,
            Self::Hook { .. } => 30_000,
            _ => 10_000,
        }
    }

    /// How long it holds unless a step says otherwise, in milliseconds; `None` until it is
    /// undone. Nothing stays frozen because somebody forgot it.
    pub fn hold_ms(&self) -> Option<u64> {
        matches!(self, Self::Freeze).then_some(FREEZE_HOLD_MS)
    }
}

/// How long a freeze holds unless told otherwise: an hour.
pub const FREEZE_HOLD_MS: u64 = 3_600_000;

impl fmt::Display for Act {
    /// What would be done, in words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let process = |pid: &Option<u32>| match pid {
            Some(pid) => format!("process {pid}"),
            None => "the alert's process".into(),
        };
        let image = |digest: &Option<Digest>| match digest {
            Some(digest) => format!("image {digest}"),
            None => "the container's image".into(),
        };
        match self {
            Self::Freeze => write!(f, "stop every process of the container where it stands"),
            Self::Unfreeze => write!(f, "let every process of the container go on"),
            Self::Isolate { allow } if allow.is_empty() => {
                write!(f, "deny all network traffic of the container")
            }
            Self::Isolate { allow } => {
                let allow: Vec<String> = allow.iter().map(ToString::to_string).collect();
                write!(f, "deny network traffic of the container, but with {}", allow.join(", "))
            }
            Self::Unisolate => write!(f, "give the container its network back"),
            Self::KillProcess { pid, .. } => write!(f, "end {}", process(pid)),
            Self::KillTree { pid, .. } => write!(f, "end {} and all it started", process(pid)),
            Self::Kill => write!(f, "end every process of the container"),
            Self::Evidence => write!(f, "collect a bundle, hashed and signed"),
            Self::Snapshot => write!(f, "write the container's changed files as an image layer"),
            Self::QuarantineImage { digest } => {
                write!(f, "let no container start from {}", image(digest))
            }
            Self::ReleaseImage { digest } => {
                write!(f, "let containers start from {} again", image(digest))
            }
            Self::BlockExecutable { sha256 } => {
                write!(f, "let no container start a program with digest {sha256}")
            }
            Self::UnblockExecutable { sha256 } => {
                write!(f, "let programs with digest {sha256} start again")
            }
            Self::BlockDestination { to } => write!(f, "drop the container's traffic with {to}"),
            Self::UnblockDestination { to } => {
                write!(f, "let the container's traffic with {to} through again")
            }
            Self::Protect => write!(f, "keep the container from being stopped and removed"),
            Self::Unprotect => write!(f, "let the container be stopped and removed"),
            Self::Cordon { node } => write!(f, "take node {node} out of scheduling"),
            Self::Uncordon { node } => write!(f, "put node {node} back into scheduling"),
            Self::LabelNode { node, key, value } => write!(f, "label node {node} {key}={value}"),
            Self::UnlabelNode { node, key } => write!(f, "take label {key} from node {node}"),
            Self::RevokeServiceAccount { namespace, account } => {
                let namespace = namespace.as_deref().unwrap_or("the pod's namespace");
                write!(f, "make service account {account} of {namespace} anew, tokens void")
            }
            Self::RevokeAwsSessions { role, .. } => {
                write!(f, "deny all to sessions of AWS role {role} issued until now")
            }
            Self::AllowAwsSessions { role } => {
                write!(f, "take the denial from sessions of AWS role {role}")
            }
            Self::DisableGcpKey { account, key } => write!(f, "disable key {key} of {account}"),
            Self::EnableGcpKey { account, key } => write!(f, "enable key {key} of {account}"),
            Self::ProtectAwsInstance { instance } | Self::ProtectGcpInstance { instance, .. } => {
                write!(f, "keep instance {instance} from being deleted")
            }
            Self::UnprotectAwsInstance { instance }
            | Self::UnprotectGcpInstance { instance, .. } => {
                write!(f, "let instance {instance} be deleted again")
            }
            Self::Hook { command } => write!(f, "run {}", command.join(" ")),
            Self::Notify { url, .. } => write!(f, "post a message to {url}"),
        }
    }
}
