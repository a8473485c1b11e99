//! Well-known programs that are often copied into images without a package: their version, by
//! the string in which each states it.

use std::sync::LazyLock;

use palisade_model::PackageKind;
use regex::bytes::Regex;

use crate::Sink;
use crate::catalog::CatalogFile;

/// A program.
pub(super) struct Program {
    /// Its name in package URLs: `pkg:generic/NAME`.
    name: &'static str,
    /// Names of files: whole, or the beginning where a `*` follows.
    files: &'static [&'static str],
    /// The version is the first group.
    pattern: LazyLock<Regex>,
}

/// A row of the table.
macro_rules! program {
    ($name:literal, $files:expr, $pattern:literal) => {
        Program { name: $name, files: &$files, pattern: LazyLock::new(|| compile($pattern)) }
    };
}

static PROGRAMS: [Program; 18] = [
    // CPython's own version stands alone between zeros.
    program!(
        "python",
        ["python3*", "libpython3*"],
        r"\x00(3\.[0-9]{1,2}\.[0-9]{1,2}(?:(?:a|b|rc)[0-9]+)?)\+?\x00"
    ),
    program!("node", ["node"], r"node\.js/v([0-9]+\.[0-9]+\.[0-9]+)"),
    program!(
        "ruby",
        ["ruby", "ruby[0-9]*", "libruby*"],
        r"ruby ([0-9]\.[0-9]+\.[0-9]+)(?:p[0-9]+)? \("
    ),
    program!(
        "php",
        ["php", "php[0-9]*", "php-fpm*", "libphp*"],
        r"X-Powered-By: PHP/([0-9]+\.[0-9]+\.[0-9]+)"
    ),
    program!("perl", ["perl", "perl5*", "libperl.so*"], r"\x00v(5\.[0-9]{1,2}\.[0-9]{1,2})\x00"),
    program!("nginx", ["nginx"], r"nginx/([0-9]+\.[0-9]+\.[0-9]+)"),
    program!("httpd", ["httpd", "apache2"], r"Apache/([0-9]+\.[0-9]+\.[0-9]+)"),
    program!("lighttpd", ["lighttpd"], r"lighttpd/([0-9]+\.[0-9]+\.[0-9]+)"),
    program!(
        "haproxy",
        ["haproxy"],
        r" version ([0-9]+\.[0-9]+\.[0-9]+)[^\x00\n]{0,60}, released [0-9]{4}/"
    ),
    // The build's identifier: version, machine and a time of 19 digits.
    program!(
        "redis",
        ["redis-server", "redis-check-rdb", "redis-check-aof"],
        r"([0-9]\.[0-9]{1,2}\.[0-9]{1,2})(?:[A-Za-z0-9.-]{1,64}-)?[0-9]{19}\x00"
    ),
    program!("memcached", ["memcached"], r"memcached ([0-9]+\.[0-9]+\.[0-9]+)"),
    program!(
        "postgresql",
        ["postgres"],
        r"PostgreSQL ([0-9]+\.[0-9]+(?:\.[0-9]+)?)[^\x00\n]{0,80} on [a-z0-9_]+-"
    ),
    program!("mariadb", ["mariadbd", "mysqld"], r"([0-9]+\.[0-9]+\.[0-9]+)-MariaDB"),
    program!("busybox", ["busybox"], r"BusyBox v([0-9]+\.[0-9]+\.[0-9]+)"),
    program!("bash", ["bash"], r"@\(#\)Bash version ([0-9]+\.[0-9]+\.[0-9]+)"),
    program!(
        "openssl",
        ["openssl", "libcrypto.so*"],
        r"OpenSSL ([0-9]\.[0-9]+\.[0-9]+[a-z]{0,2}) +[0-9]{1,2} [A-Z][a-z]{2} [0-9]{4}"
    ),
    program!("curl", ["curl", "libcurl.so*", "libcurl-*"], r"curl/([0-9]+\.[0-9]+\.[0-9]+)"),
    program!("git", ["git"], r"git/([0-9]+\.[0-9]+\.[0-9]+)"),
];

/// The patterns are constants, and a test compiles them all; one that did not compile would
/// match nothing.
fn compile(pattern: &str) -> Regex {
    let build = |pattern: &str| regex::bytes::RegexBuilder::new(pattern).unicode(false).build();
    build(pattern).or_else(|_| build("$^x")).unwrap_or_else(|_| unreachable!("a constant"))
}

/// The programs that a file of this name may be.
pub(super) fn by_name(name: &str) -> impl Iterator<Item = &'static Program> {
    PROGRAMS.iter().filter(move |program| program.files.iter().any(|file| is_named(name, file)))
}

fn is_named(name: &str, file: &str) -> bool {
    match file.strip_suffix("[0-9]*") {
        Some(stem) => {
            let rest = name.strip_prefix(stem);
            rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        }
        None => match file.strip_suffix('*') {
            Some(stem) => name.starts_with(stem),
            None => name == file,
        },
    }
}

impl Program {
    /// The version that `bytes` state.
    pub(super) fn version(&self, bytes: &[u8]) -> Option<String> {
        let version = self.pattern.captures(bytes)?.get(1)?.as_bytes();
        String::from_utf8(version.to_vec()).ok()
    }

    /// Adds the program.
    pub(super) fn add(&self, version: &str, file: &CatalogFile<'_>, sink: &mut Sink) {
        let mut package = file.package(PackageKind::Binary, self.name, version);
        package.files = vec![package.evidence.clone()];
        sink.add(package);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files() {
        let check = |file: &str, expected: &[&str]| {
            let found: Vec<&str> = by_name(file).map(|program| program.name).collect();
            assert_eq!(found, expected, "{file}");
        };
        check("python3.11", &["python"]);
        check("libpython3.11.so.1.0", &["python"]);
        check("ruby3.1", &["ruby"]);
        check("rubyfmt", &[]);
        check("mysqld", &["mariadb"]);
        check("nginx-debug", &[]);
    }

    /// The strings are those of Debian 12's and the projects' own builds.
    #[test]
    fn versions() {
        let check = |file: &str, text: &[u8], expected: Option<&str>| {
            let found = by_name(file).find_map(|program| program.version(text));
            assert_eq!(found.as_deref(), expected, "{file}");
        };
        check("python3.11", b"x\x003.11.2\0", Some("3.11.2"));
        check("python3.13", b"\x003.13.0rc1+\0", Some("3.13.0rc1"));
        check("node", b"\0node.js/v20.20.2\0", Some("20.20.2"));
        check("ruby3.1", b"ruby 3.1.2p20 (2022-04-12 revision", Some("3.1.2"));
        check("php-fpm8.2", b"X-Powered-By: PHP/8.2.36\0", Some("8.2.36"));
        check("perl", b"\0v5.36.0\0", Some("5.36.0"));
        check("nginx", b"nginx version: nginx/1.22.1", Some("1.22.1"));
        check("apache2", b"Apache/2.4.71 (Debian)", Some("2.4.71"));
        check("lighttpd", b"lighttpd/1.4.69", Some("1.4.69"));
        check("haproxy", b"\0 version 2.6.12-1+deb12u4, released 2026/10/17\n", Some("2.6.12"));
        check("redis-server", b"A7.0.151790282056000000000\0", Some("7.0.15"));
        check("redis-server", b"\x007.2.4buildkitsandbox-1704811111000000000\0", Some("7.2.4"));
        check("redis-server", b"\x007.0.51790282056000000000\0", Some("7.0.5"));
        check("memcached", b"memcached 1.6.18", Some("1.6.18"));
        check(
            "postgres",
            b"before PostgreSQL 9.1.\0PostgreSQL 15.20 (Debian 15.20-0+deb12u1) on x86_64-pc",
            Some("15.20"),
        );
        check("mariadbd", b"5.5.5-10.11.19-MariaDB-0", Some("10.11.19"));
        check("busybox", b"BusyBox v1.35.0 (Debian", Some("1.35.0"));
        check("bash", b"@(#)Bash version 5.2.15(1) release GNU", Some("5.2.15"));
        check("libcrypto.so.3", b"OpenSSL 3.0.22 11 Mar 2026", Some("3.0.22"));
        check("openssl", b"OpenSSL 1.1.1w  11 Sep 2023", Some("1.1.1w"));
        check("curl", b"curl/7.88.1", Some("7.88.1"));
        check("git", b"git/2.39.5", Some("2.39.5"));
        check("git", b"", None);
    }
}
