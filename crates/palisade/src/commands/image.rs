//! Opens whatever a target names: on disk, in a store, in a registry.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use palisade_image::{Image, OpenImageError, OpenOptions, Platform, Stores};
use palisade_model::{Reference, StoreKind, Target};
use palisade_registry::{
    BlobCache, BlobOptions, Client, ClientSettings, Credentials, HostFiles, Hosts, Observer,
    RegistryError,
};

use palisade_scan::ExaminationCache;

use super::Context;
use crate::cli::ImageSource;
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::Terminal;

/// Time between two updates of the line that shows how far a transfer is.
const STATUS_INTERVAL: Duration = Duration::from_millis(200);

/// Opens what `text` names.
pub(crate) fn open(
    context: &Context<'_>,
    text: &str,
    source: &ImageSource,
) -> Result<Image, Failure> {
    let target: Target = text.parse().or_exit(Exit::Usage)?;
    open_target(context, &target, source)
}

/// Opens a target.
pub(crate) fn open_target(
    context: &Context<'_>,
    target: &Target,
    source: &ImageSource,
) -> Result<Image, Failure> {
    let platform = platform(source)?;
    let options = OpenOptions { platform, ..OpenOptions::default() };
    open_target_with(context, target, source, &options)
}

/// Opens a target for the platform that `options` state; stores are those of `source`.
pub(crate) fn open_target_with(
    context: &Context<'_>,
    target: &Target,
    source: &ImageSource,
    options: &OpenOptions,
) -> Result<Image, Failure> {
    let options = OpenOptions { stores: stores(context, source)?, ..options.clone() };
    match target {
        Target::Registry(reference) => open_remote(context, target, reference, source, &options),
        Target::Anywhere(reference) => {
            if let Some(image) = open_stored(context, reference, &options)? {
                return Ok(image);
            }
            let target = Target::Registry(reference.clone());
            open_remote(context, &target, reference, source, &options)
        }
        Target::Container(name) => super::container::open(context, name, target, &options),
        _ => Image::open(target, &options).or_exit(Exit::Incomplete),
    }
}

/// The image in a store of this machine, if one has it, whatever a registry has.
pub(crate) fn open_in_store(
    context: &Context<'_>,
    reference: &Reference,
    source: &ImageSource,
) -> Result<Option<Image>, Failure> {
    let (platform, stores) = (platform(source)?, stores(context, source)?);
    let options = OpenOptions { platform, stores, ..OpenOptions::default() };
    open_stored(context, reference, &options)
}

/// The image in a store of this machine, if one has it. A store that cannot be read is no
/// reason not to ask the registry, and is named.
fn open_stored(
    context: &Context<'_>,
    reference: &Reference,
    options: &OpenOptions,
) -> Result<Option<Image>, Failure> {
    for kind in StoreKind::ALL {
        let name = reference.familiar();
        let target = Target::Store { kind, name, namespace: None };
        match Image::open(&target, options) {
            Ok(image) => {
                context.terminal.progress(&format!("found in the store of {kind}"));
                return Ok(Some(image));
            }
            Err(OpenImageError::NotInStore { .. }) => {}
            Err(error @ OpenImageError::StoreIo { .. }) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let cause = cause.unwrap_or_default();
                context.terminal.progress(&format!("{kind} is passed over: {error}: {cause}"));
            }
            // It is there, and is no good: another of the same name would be a surprise.
            Err(error) => return Err(error).or_exit(Exit::Incomplete),
        }
    }
    Ok(None)
}

fn platform(source: &ImageSource) -> Result<Option<Platform>, Failure> {
    let Some(text) = &source.platform else { return Ok(None) };
    let platform = text.parse::<Platform>().map_err(|error| {
        Failure::message(Exit::Usage, error).with_hint("write it as OS/ARCH[/VARIANT]")
    })?;
    Ok(Some(platform))
}

/// Where the stores are: named, or in their usual places, those of this user first.
fn stores(context: &Context<'_>, source: &ImageSource) -> Result<Stores, Failure> {
    named_stores(context, &source.store)
}

/// As [`stores`], with those that are named `ENGINE=DIR`.
pub(crate) fn named_stores(context: &Context<'_>, list: &[String]) -> Result<Stores, Failure> {
    let mut stores = Stores::default();
    if let Some(home) = &context.environment.home
        && !rustix::process::geteuid().is_root()
    {
        let share = home.join(".local/share");
        stores.docker.insert(0, share.join("docker"));
        stores.podman.insert(0, share.join("containers/storage"));
        stores.containerd.insert(0, share.join("containerd"));
    }
    let mut named = Vec::new();
    for text in list {
        let found = text.split_once('=').and_then(|(name, folder)| {
            let kind = StoreKind::ALL.into_iter().find(|kind| kind.name() == name)?;
            Some((kind, folder)).filter(|(_, folder)| !folder.is_empty())
        });
        let Some((kind, folder)) = found else {
            return Err(Failure::message(Exit::Usage, format!("`{text}` is not ENGINE=DIR"))
                .with_hint("engines are docker, podman and containerd"));
        };
        if !named.contains(&kind) {
            named.push(kind);
            stores.of_mut(kind).clear();
        }
        stores.of_mut(kind).push(folder.into());
    }
    Ok(stores)
}

fn open_remote(
    context: &Context<'_>,
    target: &Target,
    reference: &Reference,
    source: &ImageSource,
    options: &OpenOptions,
) -> Result<Image, Failure> {
    let client = client(context, source)?;
    let blobs = BlobOptions { cache: blob_cache(context, source) };
    client.open(target, reference, &blobs, options).or_exit(Exit::Incomplete)
}

/// A client of registries, as this machine is configured.
pub(crate) fn client(context: &Context<'_>, source: &ImageSource) -> Result<Arc<Client>, Failure> {
    let hosts = Hosts::read(&host_files(context, source)).map_err(|problems| {
        for problem in problems {
            context.terminal.error(&problem.to_string());
        }
        Failure::message(Exit::Usage, "the configuration of registries is not usable")
    })?;
    Ok(Arc::new(Client::new(ClientSettings {
        user_agent: format!("palisade/{}", env!("CARGO_PKG_VERSION")),
        hosts,
        credentials: Credentials { files: credential_files(context) },
        proxies: context.environment.proxies.clone(),
        observer: Arc::new(Progress::new(context.terminal)),
        ..ClientSettings::default()
    })))
}

/// Where Docker and Podman keep credentials, in the order in which Podman looks.
fn credential_files(context: &Context<'_>) -> Vec<PathBuf> {
    let environment = context.environment;
    let mut files: Vec<PathBuf> = environment.registry_auth_file.iter().cloned().collect();
    if let Some(folder) = &environment.xdg_runtime_dir {
        files.push(folder.join("containers/auth.json"));
    }
    let uid = rustix::process::getuid().as_raw();
    files.push(format!("/run/containers/{uid}/auth.json").into());
    let config = environment.xdg_config_home.clone();
    let config = config.or_else(|| environment.home.as_ref().map(|home| home.join(".config")));
    files.extend(config.map(|folder| folder.join("containers/auth.json")));
    let docker = environment.docker_config.clone();
    let docker = docker.or_else(|| environment.home.as_ref().map(|home| home.join(".docker")));
    files.extend(docker.map(|folder| folder.join("config.json")));
    files
}

/// Where Podman and Docker keep the configuration of registries.
fn host_files(context: &Context<'_>, source: &ImageSource) -> HostFiles {
    let environment = context.environment;
    let home = environment.home.clone();
    let config = environment.xdg_config_home.clone();
    let config = config.or_else(|| home.as_ref().map(|home| home.join(".config")));
    let of_user = |path: &str| config.iter().map(|folder| folder.join(path)).collect::<Vec<_>>();
    let is_root = rustix::process::geteuid().is_root();
    let mut registries: Vec<PathBuf> = environment.registries_conf.iter().cloned().collect();
    let mut registry_folders = vec![PathBuf::from("/etc/containers/registries.conf.d")];
    let mut daemon = vec![PathBuf::from("/etc/docker/daemon.json")];
    let mut certificates =
        vec![PathBuf::from("/etc/containers/certs.d"), PathBuf::from("/etc/docker/certs.d")];
    if !is_root {
        registries.extend(of_user("containers/registries.conf"));
        registry_folders.extend(of_user("containers/registries.conf.d"));
        daemon.splice(0..0, of_user("docker/daemon.json"));
        certificates.extend(of_user("containers/certs.d"));
        certificates.extend(of_user("docker/certs.d"));
    }
    registries.push("/etc/containers/registries.conf".into());
    let plain_http = source.plain_http.clone();
    HostFiles { registries, registry_folders, daemon, certificates, plain_http }
}

/// The folder for what is kept from one run to the next.
pub(crate) fn cache_folder(context: &Context<'_>, source: &ImageSource) -> Option<PathBuf> {
    if source.no_cache {
        return None;
    }
    if let Some(folder) = &source.cache_dir {
        return Some(folder.clone());
    }
    if rustix::process::geteuid().is_root() {
        return Some(context.global.data_dir.join("cache"));
    }
    let environment = context.environment;
    let cache = environment.xdg_cache_home.clone();
    let cache = cache.or_else(|| environment.home.as_ref().map(|home| home.join(".cache")))?;
    Some(cache.join("palisade"))
}

/// The cache of blobs; without one, they are fetched each time.
pub(crate) fn blob_cache(context: &Context<'_>, source: &ImageSource) -> Option<BlobCache> {
    let folder = cache_folder(context, source)?.join("blobs");
    match BlobCache::open(&folder, source.cache_size.saturating_mul(1 << 20)) {
        Ok(cache) => Some(cache),
        Err(error) => {
            let folder = folder.display();
            context.terminal.error(&format!("warning: nothing is kept in {folder}: {error}\n"));
            None
        }
    }
}

/// The cache of examinations.
pub(crate) fn examinations(
    context: &Context<'_>,
    source: &ImageSource,
) -> Option<ExaminationCache> {
    let folder = cache_folder(context, source)?.join("examinations");
    // What another build of the program found is not what this one would find.
    let file = std::fs::metadata("/proc/self/exe").ok()?;
    let program = format!(
        "{} {} {}.{}",
        env!("CARGO_PKG_VERSION"),
        file.len(),
        file.mtime(),
        file.mtime_nsec()
    );
    Some(ExaminationCache::new(&folder, &program))
}

/// Shows how a transfer goes.
#[derive(Debug)]
struct Progress {
    terminal: Terminal,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    n_bytes: u64,
    n_total: u64,
    shown: Instant,
}

impl Progress {
    fn new(terminal: Terminal) -> Self {
        let state = State { n_bytes: 0, n_total: 0, shown: Instant::now() };
        Self { terminal, state: Mutex::new(state) }
    }
}

/// Bytes as people read them.
fn megabytes(n: u64) -> String {
    format!("{:.1} MB", n as f64 / 1e6)
}

impl Observer for Progress {
    fn waiting(&self, host: &str, wait: Duration, why: &str) {
        self.terminal.status("");
        let seconds = wait.as_secs_f64();
        self.terminal.progress(&format!("{host}: {why}; asking again in {seconds:.1} s"));
    }

    fn passed_over(&self, host: &str, why: &RegistryError) {
        self.terminal.progress(&format!("{host} is passed over: {why}"));
    }

    fn fetching(&self, host: &str, n_blobs: usize, n_bytes: u64) {
        let s = if n_blobs == 1 { "" } else { "s" };
        let size = megabytes(n_bytes);
        self.terminal.progress(&format!("fetching {n_blobs} blob{s}, {size}, from {host}"));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.n_total = n_bytes;
        state.n_bytes = 0;
    }

    fn bytes(&self, n: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.n_bytes += n;
        if state.n_total == 0 {
            return;
        }
        if state.n_bytes >= state.n_total {
            state.n_total = 0;
            self.terminal.status("");
        } else if state.shown.elapsed() >= STATUS_INTERVAL {
            state.shown = Instant::now();
            let (done, all) = (megabytes(state.n_bytes), megabytes(state.n_total));
            self.terminal.status(&format!("{done} of {all}"));
        }
    }
}
