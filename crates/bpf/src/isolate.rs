//! Cutting a cgroup off the network, and back on.
//!
//! Programs attached to one cgroup of the v2 hierarchy refuse every packet of its sockets, every
//! connection, and every new socket of a network family, and count what they refuse. Links are
//! used, so a process that ends without a word lets go of everything, unless it has pinned the
//! links: then the isolation outlives it, and [`release_pinned`] of another process ends it.
//!
//! What this does not do: packet sockets (they need CAP_NET_RAW, which no hardened container has)
//! and vsock are not refused; Unix sockets are left open on purpose. Before Linux 5.15 a host that
//! used net_cls or net_prio of cgroup v1 hides the cgroup of later sockets; there only new sockets
//! and connections are refused.
#![expect(
    unsafe_code,
    reason = "mounts bpffs and asks which programs a cgroup has, for which libbpf-rs has no call"
)]

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use libbpf_rs::{Link, MapCore, MapFlags, MapHandle, Object, ObjectBuilder};
use palisade_base::Explain;

use crate::libbpf_log;

#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);
static OBJECT: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/isolate.bpf.o")));

/// Where isolations are pinned if the caller has no other wish.
pub const PIN_ROOT: &str = "/sys/fs/bpf/palisade";
/// The file system in which programs can be pinned.
const BPFFS: &str = "/sys/fs/bpf";
/// `BPF_FS_MAGIC` and `CGROUP2_SUPER_MAGIC` of `include/uapi/linux/magic.h`.
const BPFFS_MAGIC: i64 = 0xcafe_4a11;
const CGROUP2_MAGIC: i64 = 0x6367_7270;
/// Inode number of the root of a cgroup v2 hierarchy.
pub(crate) const ROOT_CGROUP_ID: u64 = 1;
/// Bytes of the name of a pinned isolation.
const ID_BYTES_MAX: usize = 128;
/// Programs of one kind on a cgroup and its ancestors that [`is_isolated`] looks at: the kernel's
/// own bound is 64.
const PROGRAMS_MAX: usize = 64;
/// The map beside the links in a pinned isolation's folder.
const DENIED: &str = "denied";
/// The maps of responders' addresses.
const ALLOWED: &str = "allowed";
const N_ALLOWED: &str = "n_allowed";
/// Addresses that can be let through; `ALLOWED_MAX` of `probes/isolate.bpf.c`.
pub const ALLOWED_MAX: usize = 64;
/// Every program of the object.
const PROGRAMS: [&str; 7] = [
    "deny_socket",
    "deny_connect4",
    "deny_connect6",
    "deny_sendmsg4",
    "deny_sendmsg6",
    "deny_egress",
    "deny_ingress",
];

/// An isolation could not be made, looked at or ended.
#[derive(Debug, thiserror::Error)]
pub enum IsolateError {
    /// The cgroup could not be opened.
    #[error("open cgroup `{}`", path.display())]
    Open {
        /// The cgroup's folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// More addresses than the programs' table holds.
    #[error("{0} addresses are to be let through, and {ALLOWED_MAX} can be")]
    TooManyAllowed(usize),
    /// The folder is not one of cgroup v2.
    #[error("`{}` is not a cgroup of the v2 hierarchy", path.display())]
    NotCgroup2 {
        /// The folder.
        path: PathBuf,
    },
    /// The folder is the root of the hierarchy: the whole host would be cut off.
    #[error("`{}` is the root cgroup", path.display())]
    RootCgroup {
        /// The folder.
        path: PathBuf,
    },
    /// The programs could not be loaded.
    #[error("load network isolation programs")]
    Load {
        /// The end of what libbpf printed.
        log: String,
        /// The reason.
        source: libbpf_rs::Error,
    },
    /// A program could not be attached; those before it were taken back.
    #[error("attach `{program}` to cgroup `{}`", path.display())]
    Attach {
        /// The program.
        program: &'static str,
        /// The cgroup.
        path: PathBuf,
        /// The reason.
        source: libbpf_rs::Error,
    },
    /// The name cannot be that of a pinned isolation.
    #[error("isolation name `{0}` is not 1 to {ID_BYTES_MAX} letters, digits, `-` or `_`")]
    Id(String),
    /// No bpffs, and mounting it failed.
    #[error("mount bpffs at `{BPFFS}`")]
    Bpffs(#[source] io::Error),
    /// A link could not be pinned, found or removed.
    #[error("{action} pinned isolation at `{}`", path.display())]
    Pin {
        /// What was tried.
        action: &'static str,
        /// The pin, or its folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The programs of a cgroup could not be listed.
    #[error("list programs of cgroup `{}`", path.display())]
    Query {
        /// The cgroup.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl Explain for IsolateError {
    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NotCgroup2 { .. } => {
                "name a folder below the v2 mount: /sys/fs/cgroup, or /sys/fs/cgroup/unified on hybrid hosts"
            }
            Self::RootCgroup { .. } => {
                "put the container's processes into a cgroup of their own and isolate that"
            }
            Self::Load { .. } | Self::Attach { .. } => {
                "run as root, or with CAP_BPF and CAP_NET_ADMIN"
            }
            Self::Bpffs(_) => {
                "mount it yourself: mount -t bpf bpf /sys/fs/bpf; unpinned, isolation ends with the process"
            }
            _ => return None,
        };
        Some(text.into())
    }
}

/// How often the programs have refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Denied {
    /// Packets on their way in.
    pub n_ingress: u64,
    /// Packets on their way out.
    pub n_egress: u64,
    /// Connections.
    pub n_connect: u64,
    /// Datagrams with an address.
    pub n_sendmsg: u64,
    /// New sockets.
    pub n_socket: u64,
}

impl Denied {
    /// Reads the map of counters; the order is that of `enum denied` in `probes/isolate.bpf.c`.
    fn read(map: &impl MapCore) -> Self {
        let n = |index: u32| {
            let values = map
                .lookup_percpu(&index.to_ne_bytes(), MapFlags::ANY)
                .ok()
                .flatten()
                .unwrap_or_default();
            values
                .iter()
                .filter_map(|bytes| bytes.first_chunk::<8>())
                .map(|bytes| u64::from_ne_bytes(*bytes))
                .sum()
        };
        Self { n_ingress: n(0), n_egress: n(1), n_connect: n(2), n_sendmsg: n(3), n_socket: n(4) }
    }
}

/// What pinning found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// The folder with the links.
    pub folder: PathBuf,
    /// Whether bpffs had to be mounted: a change to the host that is worth telling.
    pub mounted_bpffs: bool,
}

/// Programs that are loaded and attached to nothing yet: checking and translating them is most of
/// what a cut takes, and can be done before there is anything to cut.
pub struct Prepared {
    object: Object,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").finish_non_exhaustive()
    }
}

impl Prepared {
    /// Loads the programs.
    pub fn load() -> Result<Self, IsolateError> {
        let (result, log) = libbpf_log::capture(|| {
            ObjectBuilder::default()
                .name("palisade_net")
                .and_then(|b| b.open_memory(&OBJECT.0))
                .and_then(libbpf_rs::OpenObject::load)
        });
        let object = result.map_err(|source| IsolateError::Load { log, source })?;
        Ok(Self { object })
    }
}

/// A cgroup without network. Dropping it gives the network back, unless it is pinned.
pub struct Isolation {
    links: Vec<(&'static str, Link)>,
    object: Object,
    cgroup: PathBuf,
    folder: Option<PathBuf>,
}

impl std::fmt::Debug for Isolation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Isolation")
            .field("cgroup", &self.cgroup)
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Isolation {
    /// Cuts the cgroup whose folder is `cgroup`, and all below it, off the network. All or nothing.
    pub fn begin(cgroup: &Path) -> Result<Self, IsolateError> {
        Self::begin_but(cgroup, &[])
    }

    /// Like [`Isolation::begin`], but the addresses in `allow` can still be spoken with.
    pub fn begin_but(cgroup: &Path, allow: &[IpAddr]) -> Result<Self, IsolateError> {
        if allow.len() > ALLOWED_MAX {
            return Err(IsolateError::TooManyAllowed(allow.len()));
        }
        Self::begin_with(Prepared::load()?, cgroup, allow)
    }

    /// Like [`Isolation::begin_but`], by programs that were loaded before.
    pub fn begin_with(
        prepared: Prepared,
        cgroup: &Path,
        allow: &[IpAddr],
    ) -> Result<Self, IsolateError> {
        if allow.len() > ALLOWED_MAX {
            return Err(IsolateError::TooManyAllowed(allow.len()));
        }
        let folder = open_cgroup(cgroup)?;
        if folder.metadata().is_ok_and(|found| found.ino() == ROOT_CGROUP_ID) {
            return Err(IsolateError::RootCgroup { path: cgroup.into() });
        }
        let Prepared { object } = prepared;
        if !allow.is_empty() {
            set_allowed(&object, allow)
                .map_err(|source| IsolateError::Load { log: String::new(), source })?;
        }
        let mut links = Vec::new();
        for name in PROGRAMS {
            let attach =
                |source| IsolateError::Attach { program: name, path: cgroup.into(), source };
            if let Some(program) =
                object.progs_mut().find(|program| program.name() == OsStr::new(name))
            {
                links.push((name, program.attach_cgroup(folder.as_raw_fd()).map_err(attach)?));
            }
        }
        debug_assert_eq!(links.len(), PROGRAMS.len());
        Ok(Self { links, object, cgroup: cgroup.into(), folder: None })
    }

    /// Makes the isolation outlive this process, under the name `id` in `root` (see [`PIN_ROOT`]).
    ///
    /// `root` lies in a bpffs; a missing one at `/sys/fs/bpf` is mounted. On an error the isolation
    /// stands, unpinned.
    pub fn pin(&mut self, root: &Path, id: &str) -> Result<Pinned, IsolateError> {
        let folder = pin_folder(root, id)?;
        let mounted_bpffs = root.starts_with(BPFFS) && mount_bpffs()?;
        let pin_error = |path: &Path, source: io::Error| IsolateError::Pin {
            action: "make",
            path: path.into(),
            source,
        };
        std::fs::create_dir_all(&folder).map_err(|source| pin_error(&folder, source))?;
        let result = self.pin_into(&folder);
        if let Err((path, source)) = result {
            // A part of an isolation must not stay behind under a name that promises the whole.
            remove_pins(&folder)?;
            return Err(pin_error(&path, source));
        }
        self.folder = Some(folder.clone());
        Ok(Pinned { folder, mounted_bpffs })
    }

    fn pin_into(&mut self, folder: &Path) -> Result<(), (PathBuf, io::Error)> {
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |error: libbpf_rs::Error| (path, io::Error::other(error))
        };
        let map = folder.join(DENIED);
        for mut found in self.object.maps_mut().filter(|found| found.name() == OsStr::new(DENIED)) {
            found.pin(&map).map_err(failed(&map))?;
        }
        for (name, link) in &mut self.links {
            let path = folder.join(*name);
            link.pin(&path).map_err(failed(&path))?;
        }
        Ok(())
    }

    /// The cgroup's folder.
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// How often was refused so far.
    pub fn denied(&self) -> Denied {
        let map = self.object.maps().find(|map| map.name() == OsStr::new(DENIED));
        map.map_or_else(Denied::default, |map| Denied::read(&map))
    }

    /// Gives the network back, and returns how often was refused.
    pub fn release(self) -> Result<Denied, IsolateError> {
        let denied = self.denied();
        if let Some(folder) = &self.folder {
            remove_pins(folder)?;
        }
        for (_, link) in &self.links {
            // Linux 5.8 cannot detach a link; there the drop below ends it.
            let _late = link.detach();
        }
        drop(self.links);
        Ok(denied)
    }
}

/// Tells the programs whom they let through, before any is attached.
fn set_allowed(object: &Object, allow: &[IpAddr]) -> libbpf_rs::Result<()> {
    for map in object.maps() {
        if map.name() == OsStr::new(ALLOWED) {
            for address in allow {
                let mapped = match address {
                    IpAddr::V4(address) => address.to_ipv6_mapped(),
                    IpAddr::V6(address) => *address,
                };
                map.update(&mapped.octets(), &[1], MapFlags::ANY)?;
            }
        } else if map.name() == OsStr::new(N_ALLOWED) {
            let n = u32::try_from(allow.len()).unwrap_or(u32::MAX);
            map.update(&0_u32.to_ne_bytes(), &n.to_ne_bytes(), MapFlags::ANY)?;
        }
    }
    Ok(())
}

/// The counters of the pinned isolation `id` in `root`, or nothing if there is none.
pub fn pinned(root: &Path, id: &str) -> Result<Option<Denied>, IsolateError> {
    let folder = pin_folder(root, id)?;
    if !folder.join(PROGRAMS[0]).exists() {
        return Ok(None);
    }
    let (map, _log) = libbpf_log::capture(|| MapHandle::from_pinned_path(folder.join(DENIED)));
    Ok(Some(map.map_or_else(|_counters_gone| Denied::default(), |map| Denied::read(&map))))
}

/// The names of the isolations that are pinned in `root`.
pub fn list_pinned(root: &Path) -> Result<Vec<String>, IsolateError> {
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(IsolateError::Pin { action: "list", path: root.into(), source });
        }
    };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// Ends the pinned isolation `id` in `root`, whoever made it. Returns its counters, or nothing if
/// there was none.
pub fn release_pinned(root: &Path, id: &str) -> Result<Option<Denied>, IsolateError> {
    let denied = pinned(root, id)?;
    let folder = pin_folder(root, id)?;
    if folder.exists() {
        remove_pins(&folder)?;
    }
    Ok(denied)
}

/// Whether the cgroup, or one above it, is cut off by programs of this module.
pub fn is_isolated(cgroup: &Path) -> Result<bool, IsolateError> {
    let folder = open_cgroup(cgroup)?;
    for (attach_type, program) in [
        (libbpf_sys::BPF_CGROUP_INET_INGRESS, "deny_ingress"),
        (libbpf_sys::BPF_CGROUP_INET_EGRESS, "deny_egress"),
    ] {
        let names = programs_of(&folder, attach_type)
            .map_err(|source| IsolateError::Query { path: cgroup.into(), source })?;
        if !names.iter().any(|name| name == program) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The names of the programs that act on a cgroup, its ancestors' included.
fn programs_of(cgroup: &File, attach_type: u32) -> io::Result<Vec<String>> {
    let mut ids = [0_u32; PROGRAMS_MAX];
    let mut n = PROGRAMS_MAX as u32;
    let mut flags = 0_u32;
    // SAFETY: the array holds `n` numbers, and all pointers are to values of this frame.
    let result = unsafe {
        libbpf_sys::bpf_prog_query(
            cgroup.as_raw_fd(),
            attach_type,
            libbpf_sys::BPF_F_QUERY_EFFECTIVE,
            &raw mut flags,
            ids.as_mut_ptr(),
            &raw mut n,
        )
    };
    if result != 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    // A program that went away between the two questions is no program of the cgroup any more.
    let name_of =
        |id: &u32| libbpf_rs::Program::fd_from_id(*id).ok().and_then(|fd| program_name(fd.as_fd()));
    Ok(ids.iter().take(n as usize).filter_map(name_of).collect())
}

fn program_name(program: BorrowedFd<'_>) -> Option<String> {
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut bytes = size_of_val(&info) as u32;
    // SAFETY: the length is that of the structure, which is one of this frame; the pointers inside
    // it are null and their lengths zero, so the kernel follows none.
    let result = unsafe {
        libbpf_sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &raw mut info, &raw mut bytes)
    };
    let name: Vec<u8> =
        info.name.iter().map(|byte| *byte as u8).take_while(|byte| *byte != 0).collect();
    (result == 0).then(|| String::from_utf8_lossy(&name).into_owned())
}

fn open_cgroup(path: &Path) -> Result<File, IsolateError> {
    let folder =
        File::open(path).map_err(|source| IsolateError::Open { path: path.into(), source })?;
    if is_cgroup2(&folder) {
        Ok(folder)
    } else {
        Err(IsolateError::NotCgroup2 { path: path.into() })
    }
}

/// Whether a folder is one of cgroup v2.
pub(crate) fn is_cgroup2(folder: &File) -> bool {
    filesystem_magic(folder) == Some(CGROUP2_MAGIC)
}

fn filesystem_magic(file: &File) -> Option<i64> {
    // SAFETY: all zeroes is a value of this structure of numbers.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and the structure is one of this frame.
    let result = unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut found) };
    #[allow(clippy::unnecessary_cast, reason = "the field's type differs between C libraries")]
    (result == 0).then_some(found.f_type as i64)
}

/// Mounts bpffs at its usual place if it is not there. Returns whether it had to.
fn mount_bpffs() -> Result<bool, IsolateError> {
    let folder = File::open(BPFFS).map_err(IsolateError::Bpffs)?;
    if filesystem_magic(&folder) == Some(BPFFS_MAGIC) {
        return Ok(false);
    }
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: the strings are constants with their NUL.
    let result = unsafe {
        libc::mount(
            c"bpf".as_ptr(),
            c"/sys/fs/bpf".as_ptr(),
            c"bpf".as_ptr(),
            flags,
            c"mode=0700".as_ptr().cast(),
        )
    };
    if result == 0 { Ok(true) } else { Err(IsolateError::Bpffs(io::Error::last_os_error())) }
}

/// The folder of the pinned isolation `id`. bpffs reserves names with dots.
fn pin_folder(root: &Path, id: &str) -> Result<PathBuf, IsolateError> {
    let fits = (1..=ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if fits {
        Ok(root.join(id))
    } else {
        Err(IsolateError::Id(id.chars().take(ID_BYTES_MAX).collect()))
    }
}

/// Removes the pins of one isolation, and detaches its links first: the kernel lets go of a link
/// that only loses its last pin at its leisure, and the caller is told that it is over.
fn remove_pins(folder: &Path) -> Result<(), IsolateError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| IsolateError::Pin { action: "remove", path, source }
    };
    for path in PROGRAMS.map(|name| folder.join(name)).iter().filter(|path| path.exists()) {
        // Linux 5.8 cannot detach a link, and there losing the pin must do.
        let _late = libbpf_log::capture(|| Link::open(path).and_then(|link| link.detach()));
    }
    for name in PROGRAMS.into_iter().chain([DENIED]) {
        let path = folder.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&path)(error));
            }
            _ => {}
        }
    }
    std::fs::remove_dir(folder).map_err(failed(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_the_folder() {
        let check = |id: &str, fits: bool| {
            assert_eq!(pin_folder(Path::new("/r"), id).is_ok(), fits, "{id}");
        };
        check("incident-1_a", true);
        check("", false);
        check("..", false);
        check("a/b", false);
        check("a.b", false);
        check(&"a".repeat(ID_BYTES_MAX), true);
        check(&"a".repeat(ID_BYTES_MAX + 1), false);
    }

    #[test]
    fn folders_that_are_no_cgroup_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Isolation::begin(folder.path()), Err(IsolateError::NotCgroup2 { .. })));
        assert!(matches!(is_isolated(folder.path()), Err(IsolateError::NotCgroup2 { .. })));
        let missing = folder.path().join("missing");
        assert!(matches!(Isolation::begin(&missing), Err(IsolateError::Open { .. })));
    }

    #[test]
    fn the_list_of_programs_is_the_object_s() {
        let source = include_str!("../probes/isolate.bpf.c");
        assert_eq!(source.matches("SEC(\"cgroup").count(), PROGRAMS.len());
        for name in PROGRAMS {
            assert!(source.contains(&format!("int {name}(")), "{name}");
        }
    }
}
