//! Which packages of a distribution need which others, by what they say.

use std::collections::{HashMap, HashSet};

use palisade_model::Inventory;

/// The dependencies between the packages of an inventory, by their indexes in it.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    needs: Vec<Vec<usize>>,
}

impl Graph {
    /// Resolves what every package asks for. Of alternatives the first that is installed
    /// counts; what is not installed needs nothing.
    pub fn of(inventory: &Inventory) -> Self {
        let mut by_name: HashMap<&str, usize> = HashMap::new();
        let mut by_provided: HashMap<&str, usize> = HashMap::new();
        let packages = inventory.packages.iter().enumerate();
        for (index, package) in packages.filter(|(_, p)| p.kind.is_of_distribution()) {
            by_name.entry(&package.name).or_insert(index);
            for name in package.provides.iter().flat_map(|names| names.split('|')) {
                by_provided.entry(name).or_insert(index);
            }
        }
        // RPM's packages ask for files as well.
        let is_file = |name: &&str| name.starts_with('/');
        let wanted: HashSet<&str> = inventory
            .packages
            .iter()
            .flat_map(|package| &package.depends)
            .map(String::as_str)
            .filter(is_file)
            .collect();
        let mut by_file: HashMap<&str, usize> = HashMap::new();
        for (index, package) in inventory.packages.iter().enumerate() {
            for file in package.files.iter().filter(|file| wanted.contains(file.as_str())) {
                by_file.entry(file).or_insert(index);
            }
        }
        let find = |name: &str| {
            let found = by_name.get(name).or_else(|| by_provided.get(name));
            found.or_else(|| by_file.get(name)).copied()
        };
        let needs = inventory.packages.iter().enumerate().map(|(index, package)| {
            let found = package.depends.iter().filter_map(|names| names.split('|').find_map(find));
            let mut found: Vec<usize> = found.filter(|need| *need != index).collect();
            found.sort_unstable();
            found.dedup();
            found
        });
        Self { needs: needs.collect() }
    }

    /// What a package needs, directly.
    pub fn needs_of(&self, index: usize) -> impl Iterator<Item = usize> {
        self.needs.get(index).into_iter().flatten().copied()
    }

    /// What `roots` need, directly or not, themselves included.
    pub fn closure(&self, roots: impl IntoIterator<Item = usize>) -> HashSet<usize> {
        let mut reached = HashSet::new();
        let mut open: Vec<usize> = roots.into_iter().collect();
        while let Some(index) = open.pop() {
            if reached.insert(index) {
                open.extend(self.needs_of(index));
            }
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_model::package::Subject;
    use palisade_model::{Package, PackageKind};

    fn inventory(packages: &[(&str, &[&str], &[&str])]) -> Inventory {
        let package = |(name, depends, provides): &(&str, &[&str], &[&str])| Package {
            depends: depends.iter().map(ToString::to_string).collect(),
            provides: provides.iter().map(ToString::to_string).collect(),
            files: vec![format!("/usr/bin/{name}")],
            ..Package::new(PackageKind::Dpkg, *name, "1", "/var/lib/dpkg/status")
        };
        Inventory {
            subject: Subject { name: "x".into(), digest: None, platform: None },
            distribution: None,
            packages: packages.iter().map(package).collect(),
            parts: vec![],
            programs: vec![],
            n_files: 0,
            gaps: vec![],
        }
    }

    #[test]
    fn alternatives_provided_names_files_and_circles() {
        let inventory = inventory(&[
            ("a", &["missing|b", "virtual"], &[]),
            ("b", &["c"], &[]),
            ("c", &["b", "c"], &[]),
            ("d", &["/usr/bin/a"], &["virtual"]),
            ("e", &["nowhere"], &[]),
        ]);
        let graph = Graph::of(&inventory);
        let needs = |index| graph.needs_of(index).collect::<Vec<_>>();
        assert_eq!(needs(0), [1, 3]);
        assert_eq!(needs(2), [1]);
        assert_eq!(needs(3), [0]);
        assert_eq!(graph.closure([1]), HashSet::from([1, 2]));
        assert_eq!(graph.closure([0]), HashSet::from([0, 1, 2, 3]));
        assert!(needs(4).is_empty() && graph.needs_of(99).next().is_none());
    }
}
