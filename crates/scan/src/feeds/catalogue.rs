//! The feeds that are known: what each is, who publishes it and where.

use std::collections::BTreeSet;
use std::path::Path;

use palisade_base::Timestamp;

use super::{
    ImportFeedError, alpine, csaf, debian_tracker, epss, errata, import_whole, kev, osv, oval,
    ubuntu_vex, updateinfo,
};
use crate::db::DatabaseBuilder;

/// The form of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// Records of the OSV schema.
    Osv,
    /// The JSON of the Debian security tracker.
    DebianTracker,
    /// Ubuntu's VEX documents.
    UbuntuVex,
    /// Alpine's, Wolfi's or Chainguard's security database.
    Secdb,
    /// CSAF documents of Red Hat.
    RedHatVex,
    /// CSAF documents of SUSE.
    SuseCsaf,
    /// OVAL definitions of SUSE.
    SuseOval,
    /// AlmaLinux's errata.
    AlmaErrata,
    /// Rocky Linux's errata.
    RockyErrata,
    /// `updateinfo.xml` of an RPM repository.
    Updateinfo,
    /// CISA's list of known exploited vulnerabilities.
    Kev,
    /// FIRST's scores.
    Epss,
}

/// A feed that is known.
#[derive(Debug, Clone, Copy)]
pub struct Feed {
    /// Name on the command line: `debian`, `osv/PyPI`.
    pub name: &'static str,
    /// Its form.
    pub form: Form,
    /// Where its publisher has it.
    pub addresses: &'static [&'static str],
    /// Whether it is fetched where nobody says which.
    pub is_default: bool,
}

impl Feed {
    /// The ecosystems among `had`, those of the feed's other files, of which some packages are in
    /// the file at `address` alone.
    pub fn halves<'a>(&self, address: &str, had: &'a BTreeSet<String>) -> BTreeSet<&'a str> {
        let is_secdb = self.form == Form::Secdb;
        let release = alpine::release_of(address).filter(|_| is_secdb);
        // Other publishers give each release a file of its own.
        let is_any = is_secdb || !self.addresses.contains(&address);
        let is_it = |one: &str| match release {
            Some(release) => one.strip_prefix("Alpine:") == Some(release),
            None => is_any,
        };
        had.iter().map(String::as_str).filter(|one| is_it(one)).collect()
    }
}

macro_rules! osv {
    ($name:literal, $folder:literal, $is_default:literal) => {
        Feed {
            name: concat!("osv/", $name),
            form: Form::Osv,
            addresses: &[concat!(
                "https://osv-vulnerabilities.storage.googleapis.com/",
                $folder,
                "/all.zip"
            )],
            is_default: $is_default,
        }
    };
}

/// All of them, by name.
pub const FEEDS: &[Feed] = &[
    Feed {
        name: "alma",
        form: Form::AlmaErrata,
        addresses: &[
            "https://errata.almalinux.org/8/errata.full.json",
            "https://errata.almalinux.org/9/errata.full.json",
            "https://errata.almalinux.org/10/errata.full.json",
        ],
        is_default: false,
    },
    Feed {
        name: "alpine",
        form: Form::Secdb,
        addresses: &[
            "https://secdb.alpinelinux.org/edge/main.json",
            "https://secdb.alpinelinux.org/edge/community.json",
            "https://secdb.alpinelinux.org/v3.24/main.json",
            "https://secdb.alpinelinux.org/v3.24/community.json",
            "https://secdb.alpinelinux.org/v3.23/main.json",
            "https://secdb.alpinelinux.org/v3.23/community.json",
            "https://secdb.alpinelinux.org/v3.22/main.json",
            "https://secdb.alpinelinux.org/v3.22/community.json",
            "https://secdb.alpinelinux.org/v3.21/main.json",
            "https://secdb.alpinelinux.org/v3.21/community.json",
            "https://secdb.alpinelinux.org/v3.20/main.json",
            "https://secdb.alpinelinux.org/v3.20/community.json",
            "https://secdb.alpinelinux.org/v3.19/main.json",
            "https://secdb.alpinelinux.org/v3.19/community.json",
        ],
        is_default: true,
    },
    Feed {
        name: "amazon",
        form: Form::Updateinfo,
        addresses: &[
            "https://cdn.amazonlinux.com/al2023/core/mirrors/latest/x86_64/mirror.list",
            "https://cdn.amazonlinux.com/2/core/latest/x86_64/mirror.list",
        ],
        is_default: false,
    },
    Feed {
        name: "chainguard",
        form: Form::Secdb,
        addresses: &["https://packages.cgr.dev/chainguard/security.json"],
        is_default: true,
    },
    Feed {
        name: "debian",
        form: Form::DebianTracker,
        addresses: &["https://security-tracker.debian.org/tracker/data/json"],
        is_default: true,
    },
    Feed {
        name: "epss",
        form: Form::Epss,
        addresses: &["https://epss.empiricalsecurity.com/epss_scores-current.csv.gz"],
        is_default: true,
    },
    Feed {
        name: "kev",
        form: Form::Kev,
        addresses: &[
            "https://www.cisa.gov/sites/default/files/feeds/known_exploited_vulnerabilities.json",
        ],
        is_default: true,
    },
    osv!("AlmaLinux", "AlmaLinux", true),
    osv!("crates.io", "crates.io", true),
    osv!("Go", "Go", true),
    osv!("Maven", "Maven", true),
    osv!("npm", "npm", true),
    osv!("NuGet", "NuGet", true),
    osv!("Packagist", "Packagist", true),
    osv!("PyPI", "PyPI", true),
    osv!("RockyLinux", "Rocky%20Linux", true),
    osv!("RubyGems", "RubyGems", true),
    osv!("Ubuntu", "Ubuntu", true),
    Feed {
        name: "redhat",
        form: Form::RedHatVex,
        addresses: &["https://security.access.redhat.com/data/csaf/v2/vex/archive_latest.txt"],
        is_default: false,
    },
    Feed {
        name: "rocky",
        form: Form::RockyErrata,
        addresses: &["https://apollo.build.resf.org/api/v3/advisories/?page=1&size=100"],
        is_default: false,
    },
    Feed {
        name: "suse-csaf",
        form: Form::SuseCsaf,
        addresses: &["https://ftp.suse.com/pub/projects/security/csaf-vex.tar.bz2"],
        is_default: false,
    },
    Feed {
        name: "suse",
        form: Form::SuseOval,
        addresses: &[
            "https://ftp.suse.com/pub/projects/security/oval/suse.linux.enterprise.server.15.xml.gz",
            "https://ftp.suse.com/pub/projects/security/oval/opensuse.leap.15.6.xml.gz",
        ],
        is_default: false,
    },
    Feed {
        name: "ubuntu-vex",
        form: Form::UbuntuVex,
        addresses: &["https://security-metadata.canonical.com/vex/vex-all.tar.xz"],
        is_default: false,
    },
    // Of any repository, which its user names.
    Feed { name: "updateinfo", form: Form::Updateinfo, addresses: &[], is_default: false },
    Feed {
        name: "wolfi",
        form: Form::Secdb,
        addresses: &["https://packages.wolfi.dev/os/security.json"],
        is_default: true,
    },
];

/// What people call feeds besides their names.
const ALIASES: &[(&str, &str)] =
    &[("almalinux", "alma"), ("rhel", "redhat"), ("rockylinux", "rocky"), ("ubuntu", "ubuntu-vex")];

/// The feed of that name.
pub fn find(name: &str) -> Option<&'static Feed> {
    let alias = ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name));
    let name = alias.map_or(name, |(_, name)| name);
    FEEDS.iter().find(|feed| feed.name.eq_ignore_ascii_case(name))
}

/// Where the file of a feed comes from, which says how old the feed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Its publisher's own address, at that time: what it had then, however old its newest record.
    Publisher(Timestamp),
    /// A file, or another address, which may have had an old copy: since when it is here, if that
    /// is known. It stands for the age of feeds that state no time.
    Copy(Option<Timestamp>),
}

/// Imports the file or folder at `path` as a feed of that form. Answers with the ecosystems of
/// which the feed speaks.
pub fn import(
    builder: &mut DatabaseBuilder,
    form: Form,
    path: &Path,
    origin: Origin,
) -> Result<BTreeSet<String>, ImportFeedError> {
    let (fetched, of_publisher) = match origin {
        Origin::Publisher(time) => (Some(time), true),
        Origin::Copy(time) => (time, false),
    };
    builder.begin_fetched();
    import_whole(builder, path, |builder| match form {
        Form::Osv => osv::import(builder, path),
        Form::DebianTracker => debian_tracker::import(builder, path, fetched),
        Form::UbuntuVex => ubuntu_vex::import(builder, path),
        Form::Secdb => alpine::import(builder, path),
        Form::RedHatVex => csaf::import(builder, path, "redhat-vex"),
        Form::SuseCsaf => csaf::import(builder, path, "suse-csaf"),
        Form::SuseOval => oval::import(builder, path),
        Form::AlmaErrata => errata::import(builder, path, errata::ALMA),
        Form::RockyErrata => errata::import(builder, path, errata::ROCKY),
        Form::Updateinfo => updateinfo::import(builder, path),
        Form::Kev => kev::import(builder, path),
        Form::Epss => epss::import(builder, path),
    })?;
    let ecosystems = builder.ecosystems_since();
    builder.end_fetched(fetched, of_publisher);
    Ok(ecosystems)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The guide names every feed and where its publisher has it.
    #[test]
    fn the_guide_says_where_feeds_come_from() {
        let guide = include_str!("../../../../docs/guide/scan.md");
        let rows: Vec<&str> = guide.lines().filter(|line| line.starts_with("| `")).collect();
        for feed in FEEDS {
            let (kind, rest) = feed.name.split_once('/').unwrap_or((feed.name, ""));
            let name = if rest.is_empty() { format!("`{kind}`") } else { format!("`{kind}/NAME`") };
            let row = rows.iter().find(|row| row.contains(&name) && row.contains("https://"));
            let row = row.or_else(|| rows.iter().find(|row| row.contains(&name))).expect(&name);
            assert!(rest.is_empty() || row.contains(rest), "{row}: {rest}");
            for address in feed.addresses {
                let host = address.split('/').nth(2).unwrap();
                assert!(row.contains(host), "{row}: {host}");
            }
            let is_named = feed.addresses.iter().any(|address| row.contains(address));
            assert!(is_named || !rest.is_empty() || feed.addresses.is_empty(), "{row}");
        }
    }

    /// A release that is still supported has an address, `main` and `community`.
    #[test]
    fn every_supported_release_of_alpine_is_fetched() {
        let lifecycles = crate::minimality::Lifecycles::builtin();
        let alpine = find("alpine").unwrap();
        let supported = lifecycles
            .rows()
            .filter(|(product, _, end)| *product == "alpine" && *end >= lifecycles.as_of());
        let releases: Vec<&str> = supported.map(|(_, release, _)| release).collect();
        assert!(releases.len() >= 3, "{releases:?}");
        for release in releases {
            for repository in ["main", "community"] {
                let file = format!("https://secdb.alpinelinux.org/v{release}/{repository}.json");
                assert!(alpine.addresses.contains(&file.as_str()), "{file}");
            }
        }
    }

    #[test]
    fn a_file_halves_the_ecosystems_that_others_of_its_feed_have() {
        let check = |feed: &str, address: &str, had: &[&str], expected: &[&str]| {
            let had = had.iter().map(ToString::to_string).collect();
            let halved: Vec<&str> = find(feed).unwrap().halves(address, &had).into_iter().collect();
            assert_eq!(halved, expected, "{feed} {address}");
        };
        let alpine = ["Alpine:edge", "Alpine:v3.2", "Alpine:v3.20"];
        check(
            "alpine",
            "https://secdb.alpinelinux.org/v3.20/main.json",
            &alpine,
            &["Alpine:v3.20"],
        );
        check("alpine", "https://h/edge/main.json", &alpine, &["Alpine:edge"]);
        check("alpine", "https://h/v3.21/main.json", &alpine, &[]);
        // Whose file that is nobody can tell.
        check("alpine", "https://h/alpine/main.json", &alpine, &alpine);
        let alma = ["AlmaLinux:8", "AlmaLinux:9"];
        check("alma", "https://errata.almalinux.org/10/errata.full.json", &alma, &[]);
        check("updateinfo", "https://h/appstream/repomd.xml", &alma, &alma);
        check("updateinfo", "https://h/appstream/repomd.xml", &[], &[]);
    }

    #[test]
    fn names_are_unique_and_addresses_are_of_https() {
        for feed in FEEDS {
            assert_eq!(FEEDS.iter().filter(|other| other.name == feed.name).count(), 1);
            assert!(feed.addresses.iter().all(|a| a.starts_with("https://")), "{}", feed.name);
            assert!(!feed.is_default || !feed.addresses.is_empty(), "{}", feed.name);
            assert!(find(&feed.name.to_uppercase()).is_some());
            assert!(!feed.addresses.is_empty() || feed.name == "updateinfo", "{}", feed.name);
        }
        for (alias, name) in ALIASES {
            assert_eq!(find(alias).map(|feed| feed.name), Some(*name));
            assert!(FEEDS.iter().all(|feed| feed.name != *alias), "{alias}");
        }
    }
}
