//! When distributions and run-times stop getting fixes.
//!
//! A table that is built in, with the day on which it was made; a database may bring a newer
//! one. Run-times that a distribution packages are the distribution's business and not looked
//! up: Debian mends its Python for as long as it mends Debian.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use palisade_base::Timestamp;
use palisade_model::minimality::Lifecycle;
use palisade_model::{Distribution, Inventory, PackageKind};
use palisade_policy::EndOfLife;

/// A table beyond this many bytes is refused.
pub const BYTES_MAX: usize = 512 << 10;
/// Rows beyond this number are refused.
pub const ROWS_MAX: usize = 10_000;
/// Run-times of one image that are named.
const RUNTIMES_MAX: usize = 100;

const BUILTIN: &str = include_str!("lifecycles.tsv");

/// What is wrong with a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseLifecyclesError {
    /// A row is not four fields, or a field is not what it should be.
    #[error("line {line}: {problem}")]
    Row {
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// The day on which the table was made is missing.
    #[error("no line says `# as of YYYY-MM-DD`")]
    Undated,
    /// It is larger than the bound.
    #[error("more than {BYTES_MAX} bytes or {ROWS_MAX} rows")]
    TooLarge,
}

impl palisade_base::Explain for ParseLifecyclesError {
    fn hint(&self) -> Option<String> {
        Some(
            "write `product<TAB>release<TAB>YYYY-MM-DD<TAB>YYYY-MM-DD or -`, and the line \
             `# as of YYYY-MM-DD`"
                .into(),
        )
    }
}

/// The ends of maintenance that are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifecycles {
    as_of: String,
    ends: BTreeMap<(String, String), (String, Option<String>)>,
}

impl Lifecycles {
    /// The table of this release.
    pub fn builtin() -> &'static Self {
        // That the built-in table can be read is a test.
        static TABLE: LazyLock<Lifecycles> = LazyLock::new(|| {
            Lifecycles::parse(BUILTIN).unwrap_or_else(|_| Lifecycles {
                as_of: "1970-01-01".into(),
                ends: BTreeMap::new(),
            })
        });
        &TABLE
    }

    /// Reads a table: tab-separated product, release, end, longer end.
    pub fn parse(text: &str) -> Result<Self, ParseLifecyclesError> {
        if text.len() > BYTES_MAX {
            return Err(ParseLifecyclesError::TooLarge);
        }
        let mut as_of = None;
        let mut ends = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let bad = |problem| ParseLifecyclesError::Row { line: index + 1, problem };
            if let Some(remark) = line.strip_prefix('#') {
                if let Some(day) = remark.trim().strip_prefix("as of ") {
                    let day = day.trim();
                    if !is_day(day) {
                        return Err(bad("the day of the table is no date"));
                    }
                    as_of = Some(day.to_string());
                }
                continue;
            }
            if line.trim().is_empty() {
                continue;
            }
            let fields: Vec<&str> = line.split('\t').map(str::trim).collect();
            let [product, release, end, longer] = fields[..] else {
                return Err(bad("not four fields, separated by tabs"));
            };
            if product.is_empty() || release.is_empty() {
                return Err(bad("a product or release without a name"));
            }
            if !is_day(end) || !(longer == "-" || is_day(longer)) {
                return Err(bad("an end that is no date"));
            }
            let longer = Some(longer.to_string()).filter(|day| day != "-");
            ends.insert((product.to_string(), release.to_string()), (end.to_string(), longer));
            if ends.len() > ROWS_MAX {
                return Err(ParseLifecyclesError::TooLarge);
            }
        }
        as_of.map(|as_of| Self { as_of, ends }).ok_or(ParseLifecyclesError::Undated)
    }

    /// This table with what a policy knows better.
    #[must_use]
    pub fn with(&self, dates: &[EndOfLife]) -> Self {
        let mut this = self.clone();
        for EndOfLife { product, release, date } in dates {
            this.ends.insert((product.clone(), release.clone()), (date.clone(), None));
        }
        this
    }

    /// The day on which the table was made.
    pub fn as_of(&self) -> &str {
        &self.as_of
    }

    /// The end of `release` of `product`, as the table spells them, and the longer end.
    pub fn end(&self, product: &str, release: &str) -> Option<(&str, Option<&str>)> {
        let found = self.ends.get(&(product.to_string(), release.to_string()))?;
        Some((&found.0, found.1.as_deref()))
    }

    /// Every product and release, sorted, with their ends.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.ends.iter().map(|((product, release), (end, _))| {
            (product.as_str(), release.as_str(), end.as_str())
        })
    }
}

fn is_day(text: &str) -> bool {
    text.len() == 10 && format!("{text}T00:00:00Z").parse::<Timestamp>().is_ok()
}

/// What an inventory has of products with an end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Those that the table knows.
    pub known: Vec<Lifecycle>,
    /// Names of those that it does not.
    pub unknown: Vec<String>,
}

/// The distribution and the run-times of `inventory` by the built-in table.
pub fn of_inventory(inventory: &Inventory, now: Timestamp) -> Found {
    Lifecycles::builtin().of_inventory(inventory, now)
}

impl Lifecycles {
    /// The distribution and the run-times of `inventory`.
    pub fn of_inventory(&self, inventory: &Inventory, now: Timestamp) -> Found {
        let mut found = Found::default();
        if let Some(distribution) = &inventory.distribution {
            let (product, releases, shown) = of_distribution(distribution);
            match self.first(product, &releases) {
                Some(release) => found.known.extend(self.lifecycle(product, shown, &release, now)),
                // A release that rolls has no end.
                None if ROLLING.contains(&distribution.id.as_str()) => {}
                None => found.unknown.push(distribution.name.clone()),
            }
        }
        let runtimes = inventory.packages.iter().filter_map(|package| {
            let (product, shown) = RUNTIMES.iter().find_map(|(kind, name, product, shown)| {
                (*kind == package.kind && *name == package.name).then_some((*product, *shown))
            })?;
            let version = package.version.trim_start_matches(['v', 'g', 'o']);
            // Java was `1.8` before it was `9`.
            let version =
                if product == "java" { version.trim_start_matches("1.") } else { version };
            Some((product, shown, version))
        });
        let mut seen = std::collections::BTreeSet::new();
        for (product, shown, version) in runtimes {
            if found.known.len() + found.unknown.len() >= RUNTIMES_MAX {
                break;
            }
            let release = self.first(product, &lines_of(version));
            if !seen.insert((product, release.clone().unwrap_or_else(|| version.to_string()))) {
                continue;
            }
            match release {
                Some(release) => found.known.extend(self.lifecycle(product, shown, &release, now)),
                None => found.unknown.push(format!("{shown} {version}")),
            }
        }
        found
    }

    fn first(&self, product: &str, releases: &[String]) -> Option<String> {
        releases.iter().find(|release| self.end(product, release).is_some()).cloned()
    }

    fn lifecycle(
        &self,
        product: &str,
        shown: &str,
        release: &str,
        now: Timestamp,
    ) -> Option<Lifecycle> {
        let (end, extended) = self.end(product, release)?;
        // To the end of that day.
        let end_time: Timestamp = format!("{end}T23:59:59Z").parse().ok()?;
        let is_over = now > end_time;
        let distance = if is_over { now.since(end_time) } else { end_time.since(now) };
        let days = i64::try_from(distance.as_secs() / 86_400).unwrap_or(i64::MAX);
        Some(Lifecycle {
            product: shown.to_string(),
            release: release.to_string(),
            end: end.to_string(),
            is_over,
            days_left: if is_over { -days } else { days },
            extended: extended.map(str::to_string),
        })
    }
}

/// Distributions without releases.
const ROLLING: [&str; 6] = ["arch", "wolfi", "chainguard", "opensuse-tumbleweed", "gentoo", "void"];

/// Run-times that no distribution maintains: kind and name of the package, product of the
/// table, name for people. Go's standard library is built into programs.
const RUNTIMES: [(PackageKind, &str, &str, &str); 9] = [
    (PackageKind::Binary, "python", "python", "Python"),
    (PackageKind::Binary, "node", "nodejs", "Node.js"),
    (PackageKind::Binary, "php", "php", "PHP"),
    (PackageKind::Binary, "ruby", "ruby", "Ruby"),
    (PackageKind::Binary, "perl", "perl", "Perl"),
    (PackageKind::Binary, "openjdk", "java", "Java"),
    (PackageKind::Go, "stdlib", "go", "Go"),
    (PackageKind::Conda, "python", "python", "Python"),
    (PackageKind::Conda, "nodejs", "nodejs", "Node.js"),
];

/// The release lines that a version may belong to, the longest first: `3.11.4`, `3.11`, `3`.
fn lines_of(version: &str) -> Vec<String> {
    let core = version.split(['-', '+', '_', '~']).next().unwrap_or_default();
    let parts: Vec<&str> = core.split('.').take(4).collect();
    (1..=parts.len()).rev().map(|n| parts[..n].join(".")).collect()
}

/// Product and candidate releases of the table, and the name for people.
fn of_distribution(distribution: &Distribution) -> (&str, Vec<String>, &str) {
    let (product, shown) = match distribution.id.as_str() {
        "debian" => ("debian", "Debian"),
        "ubuntu" => ("ubuntu", "Ubuntu"),
        "alpine" => ("alpine", "Alpine Linux"),
        "rhel" => ("rhel", "Red Hat Enterprise Linux"),
        "centos" if distribution.name.contains("Stream") => ("centos-stream", "CentOS Stream"),
        "centos" => ("centos", "CentOS"),
        "rocky" => ("rocky", "Rocky Linux"),
        "almalinux" => ("almalinux", "AlmaLinux"),
        "ol" => ("ol", "Oracle Linux"),
        "amzn" => ("amzn", "Amazon Linux"),
        "fedora" => ("fedora", "Fedora"),
        "opensuse-leap" => ("opensuse-leap", "openSUSE Leap"),
        "sles" => ("sles", "SUSE Linux Enterprise Server"),
        other => (other, distribution.name.as_str()),
    };
    (product, lines_of(&distribution.version_id), shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_model::Package;
    use palisade_model::package::Subject;

    fn inventory(id: &str, version: &str, name: &str, packages: Vec<Package>) -> Inventory {
        Inventory {
            subject: Subject { name: "x".into(), digest: None, platform: None },
            distribution: Some(Distribution {
                id: id.into(),
                version_id: version.into(),
                codename: String::new(),
                name: name.into(),
            }),
            packages,
            parts: vec![],
            programs: vec![],
            n_files: 0,
            gaps: vec![],
        }
    }

    #[test]
    fn the_builtin_table_is_whole() {
        let table = Lifecycles::parse(BUILTIN).unwrap();
        assert!(table.rows().count() > 200, "{}", table.rows().count());
        for (_, _, product, _) in RUNTIMES {
            assert!(table.rows().any(|(known, _, _)| known == product), "{product}");
        }
    }

    #[test]
    fn ends_are_found_by_the_longest_line_that_is_known() {
        let now = "2026-11-28T12:00:00Z".parse().unwrap();
        let check = |id: &str, version: &str, name: &str, expected: Option<(&str, bool)>| {
            let found = of_inventory(&inventory(id, version, name, vec![]), now);
            let shown = found.known.first().map(|one| (one.release.as_str(), one.is_over));
            assert_eq!(shown, expected, "{id} {version}");
        };
        check("debian", "12", "Debian", Some(("12", false)));
        check("debian", "10", "Debian", Some(("10", true)));
        check("ubuntu", "22.04", "Ubuntu", Some(("22.04", false)));
        check("alpine", "3.18.4", "Alpine", Some(("3.18", true)));
        check("rhel", "9.4", "RHEL", Some(("9", false)));
        check("rocky", "9.4", "Rocky", Some(("9", false)));
        check("centos", "8", "CentOS Linux 8", Some(("8", true)));
        check("centos", "9", "CentOS Stream 9", Some(("9", false)));
        check("arch", "", "Arch", None);
        check("plan9", "4", "Plan 9", None);
    }

    #[test]
    fn the_last_day_still_counts() {
        let check = |now: &str, expected: (bool, i64)| {
            let found = of_inventory(&inventory("debian", "10", "x", vec![]), now.parse().unwrap());
            assert_eq!((found.known[0].is_over, found.known[0].days_left), expected, "{now}");
        };
        check("2024-06-30T23:00:00Z", (false, 0));
        check("2024-07-01T00:00:00Z", (true, 0));
        check("2024-07-11T00:00:00Z", (true, -10));
        check("2024-06-20T23:59:59Z", (false, 10));
    }

    #[test]
    fn runtimes_of_the_distribution_are_its_own_business() {
        let now = "2026-11-28T12:00:00Z".parse().unwrap();
        let packages = vec![
            Package::new(PackageKind::Dpkg, "python3.7", "3.7.3-2", "/var/lib/dpkg/status"),
            Package::new(PackageKind::Binary, "python", "3.8.20", "/usr/local/bin/python3.8"),
            Package::new(PackageKind::Binary, "node", "99.1.0", "/usr/local/bin/node"),
            Package::new(PackageKind::Go, "stdlib", "1.21.3", "/app"),
            Package::new(PackageKind::Go, "stdlib", "1.21.1", "/app2"),
        ];
        let found = of_inventory(&inventory("debian", "12", "Debian", packages), now);
        let shown: Vec<String> =
            found.known.iter().map(|one| format!("{} {}", one.product, one.release)).collect();
        assert_eq!(shown, ["Debian 12", "Python 3.8", "Go 1.21"]);
        assert_eq!(found.unknown, ["Node.js 99.1.0"]);
    }

    #[test]
    fn a_table_is_read_whole_or_not_at_all() {
        let day = "# as of 2026-01-01\n";
        assert!(Lifecycles::parse(&format!("{day}x\t1\t2026-01-01\t-\n")).is_ok());
        let row = |line, problem| ParseLifecyclesError::Row { line, problem };
        for (text, expected) in [
            ("x\t1\t2026-01-01\t-\n".to_string(), ParseLifecyclesError::Undated),
            (format!("{day}x 1"), row(2, "not four fields, separated by tabs")),
            (format!("{day}x\t1\tsoon\t-"), row(2, "an end that is no date")),
            (format!("{day}x\t\t2026-01-01\t-"), row(2, "a product or release without a name")),
            ("# as of today".to_string(), row(1, "the day of the table is no date")),
            ("#".repeat(BYTES_MAX + 1), ParseLifecyclesError::TooLarge),
        ] {
            assert_eq!(Lifecycles::parse(&text), Err(expected));
        }
        let rows: Vec<String> =
            (0..=ROWS_MAX).map(|i| format!("x\t{i}\t2026-01-01\t-\n")).collect();
        let rows = rows.concat();
        assert_eq!(Lifecycles::parse(&format!("{day}{rows}")), Err(ParseLifecyclesError::TooLarge));
    }
}
