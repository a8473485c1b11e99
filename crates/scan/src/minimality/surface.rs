//! The attack surface in points: what an intruder would find useful.

use palisade_image::Image;
use palisade_model::Inventory;
use palisade_model::minimality::SurfacePart;

use super::observe::{Class, Observer};

/// Names that a part shows.
const EXAMPLES_MAX: usize = 5;

/// What is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Surface {
    pub(super) n_packages: u64,
    pub(super) shells: Vec<String>,
    pub(super) package_managers: Vec<String>,
    pub(super) compilers: Vec<String>,
    pub(super) interpreters: Vec<String>,
    pub(super) network_tools: Vec<String>,
    pub(super) privileged: Vec<String>,
    pub(super) mebibytes: u64,
    pub(super) runs_as_root: bool,
    pub(super) ports: Vec<String>,
}

impl Surface {
    pub(super) fn of(image: &Image, inventory: &Inventory, observer: &Observer) -> Self {
        let class = |class| {
            observer
                .names
                .get(&class)
                .map(|names| names.iter().cloned().collect())
                .unwrap_or_default()
        };
        let user = image.config.user.split(':').next().unwrap_or_default();
        Self {
            n_packages: inventory.packages.len() as u64,
            shells: class(Class::Shell),
            package_managers: class(Class::PackageManager),
            compilers: class(Class::Compiler),
            interpreters: class(Class::Interpreter),
            network_tools: class(Class::NetworkTool),
            privileged: observer.privileged.iter().cloned().collect(),
            mebibytes: observer.n_bytes >> 20,
            runs_as_root: !image.is_folder()
                && (matches!(user, "" | "root") || user.parse() == Ok(0)),
            ports: image.config.exposed_ports.clone(),
        }
    }

    /// The parts with their points. That something is there at all weighs more than how many
    /// there are, because one shell is enough for an intruder.
    pub(super) fn parts(&self) -> Vec<SurfacePart> {
        let names = |name: &str, names: &[String], first: u32, each: u32, points_max: u32| {
            let n = names.len() as u64;
            let more = u32::try_from(n.saturating_sub(1)).unwrap_or(u32::MAX);
            let points = if n == 0 { 0 } else { first.saturating_add(more.saturating_mul(each)) };
            SurfacePart {
                name: name.into(),
                n,
                points: points.min(points_max),
                points_max,
                examples: names.iter().take(EXAMPLES_MAX).cloned().collect(),
            }
        };
        let amount = |name: &str, n: u64, each: u64, points_max: u32| SurfacePart {
            name: name.into(),
            n,
            points: u32::try_from(n.div_ceil(each)).unwrap_or(u32::MAX).min(points_max),
            points_max,
            examples: Vec::new(),
        };
        let root: &[String] = if self.runs_as_root { &["root".to_string()] } else { &[] };
        vec![
            amount("packages", self.n_packages, 12, 25),
            names("shells", &self.shells, 7, 1, 10),
            names("package managers", &self.package_managers, 6, 1, 10),
            names("compilers and debuggers", &self.compilers, 6, 1, 10),
            names("interpreters", &self.interpreters, 4, 1, 8),
            names("network tools", &self.network_tools, 4, 1, 8),
            names("files with privilege", &self.privileged, 3, 1, 10),
            amount("mebibytes", self.mebibytes, 100, 7),
            names("program run as root", root, 10, 0, 10),
            names("ports", &self.ports, 1, 1, 2),
        ]
    }

    /// The same image on a base without a system around the program. An interpreter that the
    /// program needs stays.
    pub(super) fn without_system(&self, n_packages_less: u64, keeps_interpreter: bool) -> Self {
        Self {
            n_packages: self.n_packages.saturating_sub(n_packages_less),
            shells: Vec::new(),
            package_managers: Vec::new(),
            compilers: Vec::new(),
            interpreters: if keeps_interpreter {
                self.interpreters.iter().take(1).cloned().collect()
            } else {
                Vec::new()
            },
            network_tools: Vec::new(),
            privileged: Vec::new(),
            ..self.clone()
        }
    }
}

/// The points of all parts: at most 100, because the parts' maxima are.
pub(super) fn score(parts: &[SurfacePart]) -> u32 {
    parts.iter().map(|part| part.points).sum::<u32>().min(100)
}
