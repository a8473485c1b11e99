//! Checks of limits, ports, images and probes of a container.

use palisade_model::Severity;

use super::super::reference;
use super::super::settings::{Container, Limit, Platform, Role, Setting};
use super::{Check, Facts, Judge, POD_SECURITY, Sink, shown};

const LIMITS: &str =
    "https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/";
const DOCKER_LIMITS: &str = "https://docs.docker.com/engine/containers/resource_constraints/";
const IMAGES: &str = "https://kubernetes.io/docs/concepts/containers/images/";

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "no-memory-limit",
        id: "RUN-020",
        title: "memory is not limited",
        why: "One container that leaks or is attacked takes the memory of the whole host.",
        fix: "set a limit: `resources.limits.memory` (Kubernetes), `mem_limit` or `deploy.resources.limits` (Compose)",
        references: &[LIMITS, DOCKER_LIMITS],
        judge: Judge::Container(|c, _, sink| {
            no_limit(c, &c.memory_limit, sink, "has no memory limit");
        }),
    },
    Check {
        name: "no-cpu-limit",
        id: "RUN-021",
        title: "processor time is neither limited nor requested",
        why: "One busy container slows all others of the host.",
        fix: "set `resources.requests.cpu` or a limit",
        references: &[LIMITS, DOCKER_LIMITS],
        judge: Judge::Container(|c, _, sink| {
            no_limit(c, &c.cpu_limit, sink, "has neither a limit nor a request for processor time");
        }),
    },
    Check {
        name: "no-pids-limit",
        id: "RUN-022",
        title: "the number of processes is not limited",
        why: "A fork bomb in one container stops the host.",
        fix: "set `pids_limit` (Compose) or `--pids-limit` (Docker, Podman)",
        references: &[DOCKER_LIMITS],
        judge: Judge::Container(|c, _, sink| {
            no_limit(c, &c.pids_limit, sink, "has no limit of processes");
        }),
    },
    Check {
        name: "port-on-all-interfaces",
        id: "RUN-023",
        title: "a port is published on all interfaces",
        why: "The engine opens the port past the host's firewall rules, on every network the host is in.",
        fix: "publish on one address: `127.0.0.1:8080:80`, or leave it to a reverse proxy on the container's network",
        references: &["https://docs.docker.com/engine/network/port-publishing/"],
        judge: Judge::Container(open_ports),
    },
    Check {
        name: "host-port",
        id: "RUN-024",
        title: "a port of the host is taken, or a privileged one",
        why: "A port of the node passes by services and network policies; ports below 1024 are those that users trust.",
        fix: "use a Service (Kubernetes), or a port of 1024 and above behind a proxy",
        references: &[POD_SECURITY],
        judge: Judge::Container(host_ports),
    },
    Check {
        name: "image-mutable",
        id: "RUN-028",
        title: "the image is named by a tag that may move",
        why: "What runs tomorrow is not what was scanned today.",
        fix: "name the image by digest: `name:tag@sha256:…`",
        references: &[IMAGES],
        judge: Judge::Container(mutable_image),
    },
    Check {
        name: "image-registry",
        id: "RUN-029",
        title: "the image comes from a registry that is not allowed",
        why: "Images of unknown origin were not built, scanned or signed by anybody you know.",
        fix: "use an image of an allowed registry, or add the registry to `checks.registries` of the policy",
        references: &[IMAGES],
        judge: Judge::Container(|c, facts, sink| {
            if let Some((image, place)) = runtime_image(c)
                && !facts.registries.is_empty()
                && !reference::is_allowed(image, facts.registries)
            {
                sink.add(place, format!("uses the image {} of no allowed registry", shown(image)));
            }
        }),
    },
    Check {
        name: "no-probe",
        id: "K8S-009",
        title: "nothing asks whether the container lives or is ready",
        why: "A program that hangs keeps its traffic, and nobody restarts it.",
        fix: "add `livenessProbe` and `readinessProbe`",
        references: &[
            "https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/",
        ],
        judge: Judge::Container(|c, _, sink| {
            if c.platform != Platform::Kubernetes || c.role != Role::Main {
                return;
            }
            let missing: Vec<&str> = [("liveness", &c.liveness), ("readiness", &c.readiness)]
                .into_iter()
                .filter(|(_, probe)| !probe.is_true())
                .map(|(name, _)| name)
                .collect();
            if !missing.is_empty() {
                sink.add(c.place, format!("has no {} probe", missing.join(" and no ")));
            }
        }),
    },
];

fn no_limit(c: &Container, limit: &Setting<Limit>, sink: &mut Sink, message: &str) {
    // Debug containers cannot have limits.
    if limit.effective() == Some(&Limit::None) && c.role != Role::Ephemeral {
        sink.add(limit.place_or(c.place), message);
    }
}

fn open_ports(c: &Container, _: &Facts<'_>, sink: &mut Sink) {
    for port in c.ports.iter().filter(|port| port.value.is_published) {
        if matches!(port.value.host_ip.as_str(), "" | "0.0.0.0" | "::" | "[::]" | "*") {
            let what = match (port.value.host_port, port.value.container_port) {
                (Some(host), _) => format!("port {host}"),
                (None, Some(inside)) => format!("a port for {inside}"),
                (None, None) => "a port".to_string(),
            };
            sink.add(port.place, format!("publishes {what} on all interfaces"));
        }
    }
}

fn host_ports(c: &Container, _: &Facts<'_>, sink: &mut Sink) {
    for port in &c.ports {
        match port.value.host_port {
            // A constraint that allows all of them.
            Some(0) => sink.add(port.place, "may take ports of the node"),
            Some(number) if !port.value.is_published => {
                sink.add(port.place, format!("takes port {number} of the node"));
            }
            Some(number @ 1..1024) => {
                sink.add(port.place, format!("publishes the privileged port {number}"));
            }
            _ => {}
        }
    }
}

/// The image of a workload, where it is known and not built on the spot.
fn runtime_image(c: &Container) -> Option<(&String, palisade_base::yaml::Place)> {
    let is_workload =
        matches!(c.platform, Platform::Compose | Platform::Kubernetes | Platform::Ecs);
    c.image.known().filter(|(image, _)| is_workload && !c.builds_image && !image.contains('$'))
}

fn mutable_image(c: &Container, _: &Facts<'_>, sink: &mut Sink) {
    let Some((image, place)) = runtime_image(c) else { return };
    if reference::has_digest(image) {
        return;
    }
    match reference::tag(image) {
        None => sink.add(place, format!("uses the image {} without a tag", shown(image))),
        Some("latest") => sink.add(place, format!("uses {}", shown(image))),
        Some(_) => {
            let message = format!("uses the image {} without a digest", shown(image));
            sink.add_as(Severity::Negligible, place, message);
        }
    }
}
