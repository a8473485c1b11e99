//! The blast radius of a container: what else can be reached from it.
//!
//! All of it is read from `/proc`, from outside, without entering a namespace and without
//! opening anything inside the container but folders: other running containers of its image and
//! on its networks, what of the host is mounted into it, credentials that lie in it, and its
//! connections. What cannot be read is a gap that is listed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_base::{Root, Timestamp};
use palisade_model::Container;
use palisade_model::incident::{BlastRadius, Connection, Credential, Neighbour};
use palisade_respond::evidence::redact;
use palisade_sensor::identity::{Facts, HostPaths, Resolver, match_cgroup};
use rustix::fs::FileType;

use super::mounts::{self, MountEntry};
use super::network::{NetView, shares_host_network};

/// Processes of the machine that are looked at to find its containers.
pub const PROCESSES_MAX: usize = 65_536;
/// Containers that are looked at.
pub const CONTAINERS_MAX: usize = 1024;
/// Rows of each list of a blast radius.
pub const ROWS_MAX: usize = 256;
/// How long one survey may take.
pub const DEADLINE: Duration = Duration::from_secs(2);
/// Bytes of a `/proc` file that are read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Home folders whose credentials are looked for.
const HOMES_MAX: usize = 64;

/// Files and sockets that are credentials wherever they lie.
const CREDENTIALS: [(&str, &str); 17] = [
    ("/var/run/secrets/kubernetes.io/serviceaccount/token", "Kubernetes service account token"),
    ("/var/run/secrets/eks.amazonaws.com/serviceaccount/token", "AWS web identity token"),
    ("/var/run/secrets/azure/tokens/azure-identity-token", "Azure workload identity token"),
    ("/run/docker.sock", "control socket of Docker"),
    ("/var/run/docker.sock", "control socket of Docker"),
    ("/run/containerd/containerd.sock", "control socket of containerd"),
    ("/run/crio/crio.sock", "control socket of CRI-O"),
    ("/run/podman/podman.sock", "control socket of Podman"),
    ("/etc/kubernetes/admin.conf", "Kubernetes administrator's configuration"),
    ("/etc/kubernetes/kubelet.conf", "kubelet's configuration"),
    ("/var/lib/kubelet/pki/kubelet-client-current.pem", "kubelet's client key"),
    ("/etc/ssh/ssh_host_ed25519_key", "SSH host key"),
    ("/etc/ssh/ssh_host_rsa_key", "SSH host key"),
    ("/etc/krb5.keytab", "Kerberos keys"),
    ("/var/lib/postgresql/.pgpass", "PostgreSQL passwords"),
    ("/etc/ssl/private", "private keys of TLS"),
    ("/run/secrets", "secrets of the engine"),
];

/// Files below a home folder that are credentials.
const HOME_CREDENTIALS: [(&str, &str); 14] = [
    (".ssh/id_rsa", "SSH key"),
    (".ssh/id_ed25519", "SSH key"),
    (".ssh/id_ecdsa", "SSH key"),
    (".aws/credentials", "AWS keys"),
    (".config/gcloud/application_default_credentials.json", "Google Cloud credentials"),
    (".config/gcloud/credentials.db", "Google Cloud credentials"),
    (".azure/accessTokens.json", "Azure tokens"),
    (".azure/msal_token_cache.json", "Azure tokens"),
    (".kube/config", "Kubernetes configuration"),
    (".docker/config.json", "registry credentials"),
    (".git-credentials", "Git passwords"),
    (".netrc", "passwords of servers"),
    (".npmrc", "npm token"),
    (".pgpass", "PostgreSQL passwords"),
];

/// What was found out about a container.
#[derive(Debug, Clone)]
pub struct Survey {
    /// Its blast radius.
    pub blast: BlastRadius,
    /// Its network.
    pub view: Option<NetView>,
}

/// A running container of this machine.
struct Running {
    facts: Arc<Facts>,
    pid: u32,
}

impl Running {
    fn neighbour(&self, by: String) -> Neighbour {
        Neighbour { id: self.facts.full_id.clone(), name: self.facts.container.name.clone(), by }
    }
}

/// Looks around containers, and remembers who they are.
#[derive(Debug)]
pub struct Surveyor {
    proc: PathBuf,
    resolver: Resolver,
}

impl Surveyor {
    /// A surveyor of the machine whose files lie at `paths`.
    pub fn new(paths: HostPaths) -> Self {
        Self { proc: paths.proc.clone(), resolver: Resolver::new(paths) }
    }

    /// Looks around `container`, one of whose processes is `pid`.
    pub fn survey(&mut self, container: &Container, pid: u32) -> Survey {
        let end = Instant::now() + DEADLINE;
        let mut blast = BlastRadius {
            container: container.id.clone(),
            surveyed: Timestamp::now(),
            addresses: Vec::new(),
            host_network: false,
            same_image: Vec::new(),
            shared_mounts: Vec::new(),
            same_network: Vec::new(),
            credentials: Vec::new(),
            connections: Vec::new(),
            gaps: Vec::new(),
        };
        // What dies first is looked at first.
        let view = self.look_at_network(pid, &mut blast);
        let own_mounts = or_gap(&mut blast.gaps, "mounts", mounts::of_process(&self.proc, pid));
        self.look_for_credentials(pid, &mut blast);
        let others = self.running(&container.id, end, &mut blast.gaps);
        compare_images(container, &others, &mut blast);
        self.compare_networks(view.as_ref(), pid, &others, end, &mut blast);
        if let Some(own) = own_mounts {
            self.compare_mounts(&own, &others, end, &mut blast);
        }
        cut(&mut blast);
        Survey { blast, view }
    }

    fn look_at_network(&self, pid: u32, blast: &mut BlastRadius) -> Option<NetView> {
        let is_shared = or_gap(&mut blast.gaps, "network", shares_host_network(&self.proc, pid))?;
        blast.host_network = is_shared;
        if is_shared {
            // Its connections cannot be told from those of the host by these files.
            blast.gaps.push("connections: it has the host's network".into());
            return None;
        }
        let view = or_gap(&mut blast.gaps, "network", NetView::of_process(&self.proc, pid))?;
        blast.addresses = view.addresses.iter().map(ToString::to_string).collect();
        blast.connections = view.connections.iter().cloned().collect();
        if view.is_cut {
            blast.gaps.push("network: more connections than are kept".into());
        }
        Some(view)
    }

    fn look_for_credentials(&self, pid: u32, blast: &mut BlastRadius) {
        let process = self.proc.join(pid.to_string());
        let root = or_gap(&mut blast.gaps, "credentials", Root::open(&process.join("root")));
        if let Some(root) = root {
            find_credentials(&root, &mut blast.credentials);
        }
        let environment = read(&process.join("environ"));
        if let Some(bytes) = or_gap(&mut blast.gaps, "environment", environment) {
            let names: BTreeSet<String> = redact::secret_names(&bytes).collect();
            blast.credentials.extend(names.into_iter().map(|name| Credential {
                place: format!("environment {name}"),
                what: "secret by its name or its look".into(),
            }));
        }
    }

    /// All running containers but `own`, each with one of its processes.
    fn running(&mut self, own: &str, end: Instant, gaps: &mut Vec<String>) -> Vec<Running> {
        let Some(entries) = or_gap(gaps, "processes", std::fs::read_dir(&self.proc)) else {
            return Vec::new();
        };
        let mut found: BTreeMap<String, Running> = BTreeMap::new();
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        for (i, pid) in pids.enumerate() {
            if i >= PROCESSES_MAX || found.len() >= CONTAINERS_MAX || Instant::now() > end {
                gaps.push("containers: there is more than is looked at".into());
                break;
            }
            let pid: u32 = pid;
            // A process that has gone is no gap.
            let Ok(text) = read(&self.proc.join(pid.to_string()).join("cgroup")) else { continue };
            let groups = cgroups_of(&String::from_utf8_lossy(&text));
            if groups.is_empty() {
                continue;
            }
            let Some(facts) = self.resolver.resolve(0, &groups, i64::from(pid), now()) else {
                continue;
            };
            if facts.is_host() || facts.full_id == own {
                continue;
            }
            // The lowest process id is the container's first process, or near to it.
            let entry = found
                .entry(facts.full_id.clone())
                .or_insert_with(|| Running { facts: Arc::clone(&facts), pid });
            entry.pid = entry.pid.min(pid);
        }
        found.into_values().collect()
    }

    fn compare_networks(
        &self,
        view: Option<&NetView>,
        pid: u32,
        others: &[Running],
        end: Instant,
        blast: &mut BlastRadius,
    ) {
        let Some(view) = view else { return };
        let namespace =
            |pid: u32| std::fs::read_link(self.proc.join(pid.to_string()).join("ns/net")).ok();
        let own = namespace(pid);
        for other in others {
            if Instant::now() > end {
                blast.gaps.push("networks: the time was up".into());
                return;
            }
            let theirs = namespace(other.pid);
            if own.is_some() && own == theirs {
                blast.same_network.push(other.neighbour("the same network namespace".into()));
                continue;
            }
            if shares_host_network(&self.proc, other.pid).unwrap_or(true) {
                continue;
            }
            let Ok(their_view) = NetView::of_process(&self.proc, other.pid) else { continue };
            if let Some((network, prefix)) = view.shared_network(&their_view) {
                blast.same_network.push(other.neighbour(format!("{network}/{prefix}")));
            }
            let is_theirs = |c: &&mut Connection| their_view.addresses.contains(&c.remote.ip());
            for connection in blast.connections.iter_mut().filter(is_theirs) {
                connection.peer = Some(other.facts.full_id.clone());
            }
        }
    }

    fn compare_mounts(
        &self,
        own: &[MountEntry],
        others: &[Running],
        end: Instant,
        blast: &mut BlastRadius,
    ) {
        let host = or_gap(&mut blast.gaps, "mounts of the host", mounts::of_host(&self.proc));
        let mut with: BTreeMap<(String, String), Vec<Neighbour>> = BTreeMap::new();
        for other in others {
            if Instant::now() > end {
                blast.gaps.push("mounts: the time was up".into());
                break;
            }
            let theirs = mounts::of_process(&self.proc, other.pid).unwrap_or_default();
            let keys: BTreeSet<_> = theirs.iter().filter_map(MountEntry::key).collect();
            for key in keys {
                let path = theirs.iter().find(|mount| mount.key().as_ref() == Some(&key));
                let by = path.map_or_else(String::new, |mount| mount.path.clone());
                with.entry(key).or_default().push(other.neighbour(by));
            }
        }
        blast.shared_mounts = mounts::shared(own, host.as_deref().unwrap_or_default(), &with);
    }
}

fn compare_images(container: &Container, others: &[Running], blast: &mut BlastRadius) {
    let Some(image) = &container.image else { return };
    for other in others {
        let Some(theirs) = &other.facts.container.image else { continue };
        let same = match (&image.digest, &theirs.digest) {
            (Some(a), Some(b)) => a == b,
            _ => image.reference == theirs.reference,
        };
        if same {
            blast.same_image.push(other.neighbour(image.reference.clone()));
        }
    }
}

fn find_credentials(root: &Root, found: &mut Vec<Credential>) {
    let mut seen = BTreeSet::new();
    let mut look = |path: String, what: &str| {
        let path = Path::new(&path);
        let is_there = match root.kind(path) {
            Ok(FileType::RegularFile | FileType::Socket) => true,
            Ok(FileType::Directory) => is_filled(root, path),
            _ => false,
        };
        // `/var/run` and `/run` are one folder on most systems.
        let name = path.to_string_lossy();
        let name =
            name.strip_prefix("/var").filter(|rest| rest.starts_with("/run/")).unwrap_or(&name);
        if is_there && seen.insert(name.to_string()) {
            found.push(Credential { place: name.to_string(), what: what.to_string() });
        }
    };
    for (path, what) in CREDENTIALS {
        look(path.to_string(), what);
    }
    let mut homes = vec!["/root".to_string()];
    if let Ok(folder) = root.open_folder(Path::new("/home"))
        && let Ok(folder) = rustix::fs::Dir::new(folder)
    {
        let names =
            folder.filter_map(|entry| entry.ok()?.file_name().to_str().ok().map(String::from));
        let names = names.filter(|name| !name.starts_with('.'));
        homes.extend(names.take(HOMES_MAX).map(|name| format!("/home/{name}")));
    }
    for home in homes {
        for (path, what) in HOME_CREDENTIALS {
            look(format!("{home}/{path}"), what);
        }
    }
}

/// Whether a folder has an entry.
fn is_filled(root: &Root, path: &Path) -> bool {
    let Ok(folder) = root.open_folder(path) else { return false };
    let Ok(folder) = rustix::fs::Dir::new(folder) else { return false };
    let mut names = folder.filter_map(Result::ok);
    names.any(|entry| !entry.file_name().to_bytes().starts_with(b"."))
}

/// Lines of `/proc/PID/cgroup` as the sensor's records have them; empty when none of them is a
/// container's.
fn cgroups_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut is_container = false;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        is_container |= match_cgroup(path).is_some();
        bytes.extend_from_slice(controllers.as_bytes());
        bytes.push(b'=');
        bytes.extend_from_slice(path.as_bytes());
        bytes.push(0);
    }
    if is_container { bytes } else { Vec::new() }
}

/// Keeps the first rows of each list, and says so.
fn cut(blast: &mut BlastRadius) {
    let mut n_cut = 0;
    let mut bound = |n: usize| n_cut += n.saturating_sub(ROWS_MAX);
    bound(blast.same_image.len());
    bound(blast.same_network.len());
    bound(blast.shared_mounts.len());
    bound(blast.credentials.len());
    bound(blast.connections.len());
    blast.same_image.truncate(ROWS_MAX);
    blast.same_network.truncate(ROWS_MAX);
    blast.shared_mounts.truncate(ROWS_MAX);
    blast.credentials.truncate(ROWS_MAX);
    blast.connections.truncate(ROWS_MAX);
    if n_cut > 0 {
        blast.gaps.push(format!("{n_cut} further rows are not listed"));
    }
    blast.gaps.truncate(ROWS_MAX);
}

fn or_gap<T>(gaps: &mut Vec<String>, what: &str, result: io::Result<T>) -> Option<T> {
    result.map_err(|error| gaps.push(format!("{what}: {error}"))).ok()
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn now() -> u64 {
    Timestamp::now().as_nanos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_by_their_places_and_not_through_links_out() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        };
        write("run/secrets/kubernetes.io/serviceaccount/token");
        std::fs::create_dir_all(folder.path().join("var")).unwrap();
        std::os::unix::fs::symlink("../run", folder.path().join("var/run")).unwrap();
        write("root/.aws/credentials");
        write("home/ann/.kube/config");
        std::fs::create_dir_all(folder.path().join("etc/ssl/private")).unwrap();
        std::fs::create_dir_all(folder.path().join("home/bob/.ssh")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("home/bob/.ssh/id_rsa"))
            .unwrap();
        let mut found = Vec::new();
        find_credentials(&Root::open(folder.path()).unwrap(), &mut found);
        let places: Vec<&str> = found.iter().map(|found| found.place.as_str()).collect();
        let expected = [
            "/run/secrets/kubernetes.io/serviceaccount/token",
            "/run/secrets",
            "/root/.aws/credentials",
            "/home/ann/.kube/config",
        ];
        assert_eq!(places, expected);
    }

    #[test]
    fn groups_of_the_host_are_passed_over() {
        assert!(cgroups_of("0::/user.slice/session-1.scope\n").is_empty());
        let id = "ab".repeat(32);
        let text = format!("4:memory:/docker/{id}\n0::/\n");
        let expected = format!("memory=/docker/{id}\0=/\0");
        assert_eq!(cgroups_of(&text), expected.as_bytes());
        assert!(cgroups_of("nonsense\n:\n").is_empty());
    }

    #[test]
    fn long_lists_are_cut_and_said_to_be() {
        let mut survey = Surveyor::new(HostPaths::default())
            .survey(&crate::testing::container("none"), u32::MAX);
        assert!(survey.view.is_none());
        assert!(!survey.blast.gaps.is_empty());
        let one = Credential { place: "p".into(), what: "w".into() };
        survey.blast.credentials = vec![one; ROWS_MAX + 3];
        cut(&mut survey.blast);
        assert_eq!(survey.blast.credentials.len(), ROWS_MAX);
        assert!(survey.blast.gaps.iter().any(|gap| gap.starts_with("3 further rows")));
    }
}
