//! Smaller bases for the same program, and what each would gain. Never certain: each says what
//! has to be checked.

use palisade_base::Timestamp;
use palisade_model::minimality::BaseProposal;
use palisade_model::{Finding, Inventory, Package};

use super::Lifecycles;
use super::elf::Linkage;
use super::need::Needs;
use super::observe::Observer;
use super::surface::{Surface, score};

/// Bases for images with fewer packages gain nothing.
const PACKAGES_MIN: usize = 12;

/// What proposals are made from.
pub(super) struct Facts<'a> {
    pub(super) inventory: &'a Inventory,
    pub(super) findings: &'a [Finding],
    pub(super) observer: &'a Observer,
    pub(super) surface: &'a Surface,
    pub(super) needs: &'a Needs,
    pub(super) lifecycles: &'a Lifecycles,
    pub(super) now: Timestamp,
}

/// Libraries of glibc itself.
const GLIBC: [&str; 9] = [
    "libc.so.6",
    "libm.so.6",
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "libresolv.so.2",
    "libutil.so.1",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
];
/// What distroless' `base` has besides, and `cc` besides that.
const BASE: [&str; 2] = ["libssl.so.3", "libcrypto.so.3"];
const CC: [&str; 3] = ["libgcc_s.so.1", "libstdc++.so.6", "libgomp.so.1"];

/// What kind of program the image starts.
enum Program<'a> {
    Static,
    Linked(Vec<&'a str>),
    Python,
    Node,
    Java,
    Other,
}

/// Proposals, the one that gains most first.
pub(super) fn proposals(facts: &Facts<'_>) -> Vec<BaseProposal> {
    let system: Vec<usize> = (0..facts.inventory.packages.len())
        .filter(|index| facts.package(*index).is_some_and(|p| p.kind.is_of_distribution()))
        .collect();
    let is_small =
        facts.inventory.distribution.as_ref().is_none_or(|d| d.name.contains("Distroless"));
    if is_small || system.len() < PACKAGES_MIN || facts.needs.entry.is_none() {
        return Vec::new();
    }
    let unneeded: Vec<usize> =
        system.iter().copied().filter(|index| !facts.needs.needed.contains(index)).collect();
    let mut proposals = Vec::new();
    let debian = facts.debian();
    match facts.program() {
        Program::Static => proposals.push(facts.proposal(
            format!("gcr.io/distroless/static-debian{debian}"),
            "the program is linked statically and needs no package",
            "that it starts no other program and reads no file of the system",
            &system,
            false,
        )),
        Program::Linked(libraries) => {
            let only = |known: &[&[&str]]| {
                libraries.iter().all(|name| known.iter().any(|list| list.contains(name)))
            };
            let variant = if only(&[&GLIBC, &BASE]) {
                Some("base")
            } else if only(&[&GLIBC, &BASE, &CC]) {
                Some("cc")
            } else {
                None
            };
            if let Some(variant) = variant {
                proposals.push(facts.proposal(
                    format!("gcr.io/distroless/{variant}-debian{debian}"),
                    "the program loads libraries of that base alone",
                    "that it starts no other program, and that the version of glibc suffices",
                    &unneeded,
                    false,
                ));
            }
        }
        Program::Python => proposals.push(facts.interpreter("python3", &debian, &unneeded)),
        Program::Node => proposals.push(facts.interpreter("nodejs", &debian, &unneeded)),
        Program::Java => proposals.push(facts.interpreter("java", &debian, &unneeded)),
        Program::Other => {}
    }
    proposals.extend(facts.slim(&unneeded));
    if matches!(facts.program(), Program::Static | Program::Python | Program::Node) {
        proposals.extend(facts.alpine(&unneeded));
    }
    proposals.retain(|proposal| proposal.n_packages_less > 0);
    proposals.sort_by_key(|p| std::cmp::Reverse((p.points_less, p.n_packages_less)));
    proposals
}

impl Facts<'_> {
    fn package(&self, index: usize) -> Option<&Package> {
        self.inventory.packages.get(index)
    }

    fn is_of(&self, id: &str) -> bool {
        self.inventory.distribution.as_ref().is_some_and(|found| found.id == id)
    }

    /// The release of Debian whose libraries fit: the image's own, or the newest.
    fn debian(&self) -> String {
        match &self.inventory.distribution {
            Some(found) if found.id == "debian" && matches!(&*found.version_id, "12" | "13") => {
                found.version_id.clone()
            }
            _ => "13".into(),
        }
    }

    fn program(&self) -> Program<'_> {
        let Some(entry) = self.needs.entry.as_deref() else { return Program::Other };
        let known = self.observer.programs.iter().find(|program| program.path == entry);
        let name = match known.and_then(|program| program.script.as_deref()) {
            Some(script) => script.rsplit('/').next().unwrap_or_default(),
            None => entry.rsplit('/').next().unwrap_or_default(),
        };
        if name.starts_with("python") {
            return Program::Python;
        }
        match name {
            "node" | "nodejs" => return Program::Node,
            "java" => return Program::Java,
            _ => {}
        }
        match known.map(|program| (&program.linkage, &program.script)) {
            Some((linkage, None)) if linkage.is_static() => Program::Static,
            Some((Linkage { needed, .. }, None)) => {
                Program::Linked(needed.iter().map(String::as_str).collect())
            }
            _ => Program::Other,
        }
    }

    fn proposal(
        &self,
        base: String,
        why: &str,
        check: &str,
        gone: &[usize],
        keeps_interpreter: bool,
    ) -> BaseProposal {
        let less = self.surface.without_system(gone.len() as u64, keeps_interpreter);
        self.with(base, why, check, gone, &less)
    }

    fn with(
        &self,
        base: String,
        why: &str,
        check: &str,
        gone: &[usize],
        less: &Surface,
    ) -> BaseProposal {
        let purls: std::collections::HashSet<&str> =
            gone.iter().filter_map(|index| Some(self.package(*index)?.purl.as_str())).collect();
        let is_gone =
            |f: &&Finding| matches!(f, Finding::Vulnerability(v) if purls.contains(&*v.purl));
        BaseProposal {
            base,
            why: why.into(),
            check: check.into(),
            n_packages_less: gone.len() as u64,
            n_vulnerabilities_less: self.findings.iter().filter(is_gone).count() as u64,
            points_less: score(&self.surface.parts()).saturating_sub(score(&less.parts())),
        }
    }

    fn interpreter(&self, name: &str, debian: &str, unneeded: &[usize]) -> BaseProposal {
        self.proposal(
            format!("gcr.io/distroless/{name}-debian{debian}"),
            "the program needs its interpreter and no system around it",
            "that the interpreter's version fits, that native extensions find their libraries, \
             and that no shell is started",
            unneeded,
            true,
        )
    }

    /// Debian's own smaller variant, for images that have more than it.
    fn slim(&self, unneeded: &[usize]) -> Option<BaseProposal> {
        if !self.is_of("debian") {
            return None;
        }
        let gone: Vec<usize> = unneeded
            .iter()
            .copied()
            .filter(|index| self.package(*index).is_some_and(|p| !is_in_slim(&p.name)))
            .collect();
        let release = &self.inventory.distribution.as_ref()?.version_id;
        if release.is_empty() || gone.is_empty() {
            return None;
        }
        let less = Surface {
            n_packages: self.surface.n_packages.saturating_sub(gone.len() as u64),
            ..self.surface.clone()
        };
        Some(self.with(
            format!("debian:{release}-slim"),
            "packages that nothing shown needs are not in it",
            "that nothing starts or loads them by name; install what is needed with \
             --no-install-recommends",
            &gone,
            &less,
        ))
    }

    /// The newest Alpine that gets fixes.
    fn alpine(&self, unneeded: &[usize]) -> Option<BaseProposal> {
        if self.is_of("alpine") {
            return None;
        }
        let today: String = self.now.rfc3339().chars().take(10).collect();
        let number = |release: &str| -> Option<(u32, u32)> {
            let (major, minor) = release.split_once('.')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        };
        let release = self
            .lifecycles
            .rows()
            .filter(|(product, _, end)| *product == "alpine" && *end >= today.as_str())
            .filter_map(|(_, release, _)| Some((number(release)?, release)))
            .max()?
            .1;
        let mut less = self.surface.without_system(unneeded.len() as u64, true);
        // Alpine has BusyBox and apk.
        less.shells = vec!["busybox".into(), "sh".into()];
        less.package_managers = vec!["apk".into()];
        less.network_tools = vec!["nc".into(), "wget".into()];
        Some(self.with(
            format!("alpine:{release}"),
            "a system of some 15 packages with the same interpreters",
            "that everything native can be built against musl, whose resolver and locales differ",
            unneeded,
            &less,
        ))
    }
}

/// Whether `debian:RELEASE-slim` has a package, whatever the version in its name.
fn is_in_slim(name: &str) -> bool {
    let stem = |name: &str| {
        let name = name.trim_end_matches("t64");
        name.chars().filter(|c| !c.is_ascii_digit() && *c != '.').collect::<String>()
    };
    let wanted = stem(name);
    SLIM.iter().any(|known| stem(known) == wanted)
}

/// What Debian marks as essential or required, and what that needs.
const SLIM: [&str; 84] = [
    "adduser",
    "apt",
    "base-files",
    "base-passwd",
    "bash",
    "bsdutils",
    "coreutils",
    "dash",
    "debconf",
    "debian-archive-keyring",
    "debianutils",
    "diffutils",
    "dpkg",
    "e2fsprogs",
    "findutils",
    "gcc-12-base",
    "gpgv",
    "grep",
    "gzip",
    "hostname",
    "init-system-helpers",
    "libacl1",
    "libapt-pkg6.0",
    "libattr1",
    "libaudit-common",
    "libaudit1",
    "libblkid1",
    "libbz2-1.0",
    "libc-bin",
    "libc6",
    "libcap-ng0",
    "libcap2",
    "libcom-err2",
    "libcrypt1",
    "libdb5.3",
    "libdebconfclient0",
    "libext2fs2",
    "libffi8",
    "libgcc-s1",
    "libgcrypt20",
    "libgmp10",
    "libgnutls30",
    "libgpg-error0",
    "libhogweed6",
    "libidn2-0",
    "liblz4-1",
    "liblzma5",
    "libmd0",
    "libmount1",
    "libnettle8",
    "libp11-kit0",
    "libpam-modules",
    "libpam-modules-bin",
    "libpam-runtime",
    "libpam0g",
    "libpcre2-8-0",
    "libseccomp2",
    "libselinux1",
    "libsemanage-common",
    "libsemanage2",
    "libsepol2",
    "libsmartcols1",
    "libss2",
    "libstdc++6",
    "libsystemd0",
    "libtasn1-6",
    "libtinfo6",
    "libudev1",
    "libunistring2",
    "libuuid1",
    "libxxhash0",
    "libzstd1",
    "login",
    "logsave",
    "mawk",
    "mount",
    "ncurses-base",
    "ncurses-bin",
    "passwd",
    "perl-base",
    "sed",
    "sysvinit-utils",
    "tar",
    "util-linux",
];
