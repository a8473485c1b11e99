//! Package databases and metadata of installed packages: files of every cataloger together give
//! an inventory that holds what `check_inventory` says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_fuzz::{check_inventory, collect};

const PATHS: [&str; 19] = [
    "etc/os-release",
    "usr/lib/os-release",
    "var/lib/dpkg/status",
    "var/lib/dpkg/status.d/base",
    "var/lib/dpkg/status.d/base.md5sums",
    "var/lib/dpkg/info/base.list",
    "lib/apk/db/installed",
    "usr/lib/python3/dist-packages/a-1.dist-info/METADATA",
    "usr/lib/python3/dist-packages/b.egg-info",
    "usr/lib/node_modules/c/package.json",
    "usr/share/nodejs/@d/e/package.json",
    "usr/lib/python3/dist-packages/a-1.dist-info/RECORD",
    "var/lib/pacman/local/a-1/desc",
    "var/lib/pacman/local/a-1/files",
    "usr/share/doc/base/copyright",
    "var/lib/gems/specifications/a-1.gemspec",
    "opt/java/release",
    "usr/lib/node_modules/c/LICENSE",
    "usr/lib/python3/dist-packages/a-1.dist-info/licenses/COPYING",
];

fuzz_target!(|data: &[u8]| check_inventory(collect(data, &PATHS)));
