//! The keys of `network`: the bridges of this host whose ports are guarded.

use crate::document::matches;
use crate::table::{Default as Fallback, ITEMS_MAX, Key, Kind, TextRule, section};

/// Ports that the watch service guards.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkGuards {
    /// Patterns of bridges; without any, nothing is guarded.
    pub bridges: Vec<String>,
    /// Patterns of their ports' devices; without any, all of them.
    pub ports: Vec<String>,
}

impl NetworkGuards {
    /// Whether the port `device` of `bridge` is to be guarded.
    pub fn names(&self, bridge: &str, device: &str) -> bool {
        let any =
            |patterns: &[String], text: &str| patterns.iter().any(|pattern| matches(pattern, text));
        any(&self.bridges, bridge) && (self.ports.is_empty() || any(&self.ports, device))
    }
}

/// The keys.
pub(crate) const KEYS: &[Key] = &[
    section("network", "Guards of the ports of this host's bridges, kept by the watch service."),
    Key {
        path: "network.bridges",
        kind: Kind::Texts {
            rule: TextRule::Sentence,
            n_max: ITEMS_MAX,
            set: |p, texts| p.network.bridges = texts,
        },
        default: Fallback::Values(&[]),
        doc: "Patterns of bridges; `*` stands for any text. `palisade watch --respond on` guards each \
              port that comes to one of them, as `palisade network guard` does: a container cannot \
              use another's MAC or IP address there, nor be a router or a DHCP server.",
        example: "[docker0, \"br-*\"]",
    },
    Key {
        path: "network.ports",
        kind: Kind::Texts {
            rule: TextRule::Sentence,
            n_max: ITEMS_MAX,
            set: |p, texts| p.network.ports = texts,
        },
        default: Fallback::Values(&[]),
        doc: "Patterns of the ports' devices on those bridges; without any, all ports. A port of a \
              virtual machine or of a container that routes for others is left out by naming those \
              that are not.",
        example: "[\"veth*\"]",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_named_by_its_bridge_and_its_device() {
        let guards = |bridges: &[&str], ports: &[&str]| NetworkGuards {
            bridges: bridges.iter().map(ToString::to_string).collect(),
            ports: ports.iter().map(ToString::to_string).collect(),
        };
        for (bridges, ports, expected) in [
            (&["docker0"][..], &[][..], true),
            (&["br-*", "docker*"], &[], true),
            (&["br-*"], &[], false),
            (&[], &["veth*"], false),
            (&["docker0"], &["veth1"], true),
            (&["docker0"], &["tap*"], false),
        ] {
            assert_eq!(guards(bridges, ports).names("docker0", "veth1"), expected, "{bridges:?}");
        }
    }
}
