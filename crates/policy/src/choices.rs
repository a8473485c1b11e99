//! The words that keys of containers take, each with what it means and sets.

use crate::document::{Network, RootlessIds, RootlessLimits, SecurityModule, UserNamespace};
use crate::key::Choice;

pub(crate) const NETWORK: &[Choice] = &[
    Choice {
        name: "none",
        meaning: "loopback only",
        set: |p| p.containers.network = Network::None,
    },
    Choice {
        name: "bridge",
        meaning: "a network of its own on a bridge of containers, which reach the world by the \
                  host's address, and neither each other nor the host",
        set: |p| p.containers.network = Network::Bridge,
    },
    Choice {
        name: "host",
        meaning: "the host's network, with everything that listens on its loopback",
        set: |p| p.containers.network = Network::Host,
    },
];

pub(crate) const SECURITY_MODULE: &[Choice] = &[
    Choice {
        name: "auto",
        meaning: "where this machine's kernel runs AppArmor",
        set: |p| p.containers.security_module = SecurityModule::Auto,
    },
    Choice {
        name: "required",
        meaning: "a container that AppArmor cannot confine is not started",
        set: |p| p.containers.security_module = SecurityModule::Required,
    },
    Choice {
        name: "off",
        meaning: "no profile is made",
        set: |p| p.containers.security_module = SecurityModule::Off,
    },
];

pub(crate) const ROOTLESS_IDS: &[Choice] = &[
    Choice {
        name: "range",
        meaning: "65,536 of the ids that `/etc/subuid` and `/etc/subgid` give the user",
        set: |p| p.containers.rootless.ids = RootlessIds::Range,
    },
    Choice {
        name: "single",
        meaning: "those where the user has them, and where not the user's own id alone: root \
                  inside is then the user outside, and every file of the image is root's",
        set: |p| p.containers.rootless.ids = RootlessIds::Single,
    },
];

pub(crate) const ROOTLESS_LIMITS: &[Choice] = &[
    Choice {
        name: "warn",
        meaning: "the container runs without it, and `run` says so",
        set: |p| p.containers.rootless.limits = RootlessLimits::Warn,
    },
    Choice {
        name: "require",
        meaning: "the container is not started",
        set: |p| p.containers.rootless.limits = RootlessLimits::Require,
    },
];

pub(crate) const USER_NAMESPACE: &[Choice] = &[
    Choice {
        name: "private",
        meaning: "its own 65,536 ids that no other container has: root inside is nobody outside",
        set: |p| p.containers.user_namespace = UserNamespace::Private,
    },
    Choice {
        name: "host",
        meaning: "the host's ids: root inside is root outside",
        set: |p| p.containers.user_namespace = UserNamespace::Host,
    },
];
