//! Lock files and manifests of all languages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_fuzz::{check_inventory, collect};

const PATHS: [&str; 25] = [
    "s/package-lock.json",
    "s/bun.lock",
    "s/yarn.lock",
    "s/pnpm-lock.yaml",
    "s/requirements.txt",
    "s/poetry.lock",
    "s/uv.lock",
    "s/Pipfile.lock",
    "s/pylock.toml",
    "s/Gemfile.lock",
    "s/composer.lock",
    "s/vendor/composer/installed.json",
    "s/Cargo.lock",
    "s/go.mod",
    "s/a.deps.json",
    "s/packages.lock.json",
    "s/packages.config",
    "s/Directory.Packages.props",
    "s/gradle.lockfile",
    "s/environment.yml",
    "s/conda-meta/a.json",
    "s/node_modules/a/package.json",
    "s/npm-shrinkwrap.json",
    "s/gems.locked",
    "etc/os-release",
];

fuzz_target!(|data: &[u8]| check_inventory(collect(data, &PATHS)));
