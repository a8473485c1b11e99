//! The program: arguments, configuration, logging, exit codes, printing.
//!
//! `main` decides nothing that a library could: each command lives in a module of
//! [`commands`] that reads its flags, calls the crates and prints what they return.
#![forbid(unsafe_code)]

mod cli;
mod commands;
mod exit;
mod notify;
mod settings;
mod terminal;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::cli::Cli;
use crate::exit::Exit;
use crate::terminal::Terminal;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // First, and without reading a command line of our own: a container waits.
    if let Some((called, arguments)) = palisade_runtime::oci::called_as(&arguments) {
        let settings = runtime_settings();
        return palisade_runtime::oci::hand_over(called, arguments, settings.as_deref()).into();
    }
    let environment = Environment::read();
    run(&environment, &arguments).into()
}

/// The few variables that are no flags.
struct Environment {
    home: Option<PathBuf>,
    xdg_config_home: Option<PathBuf>,
    no_color: bool,
    /// Password of an encrypted signing key; cosign's variable is read as well.
    key_password: Option<String>,
    /// What Falco's JSON calls the machine, as in Falco.
    falco_hostname: Option<String>,
    /// Where Docker and Podman keep credentials, when not in their usual places.
    docker_config: Option<PathBuf>,
    registry_auth_file: Option<PathBuf>,
    registries_conf: Option<PathBuf>,
    xdg_runtime_dir: Option<PathBuf>,
    xdg_cache_home: Option<PathBuf>,
    xdg_data_home: Option<PathBuf>,
    /// An ID token for keyless signatures, where a CI system puts it.
    id_token: Option<String>,
    /// Where a CI runner gives ID tokens, and with which secret.
    id_token_request: Option<(String, String)>,
    /// Proxies for registries.
    proxies: palisade_http::Proxies,
}

impl Environment {
    #[expect(clippy::disallowed_methods, reason = "the one place where variables are read")]
    fn read() -> Self {
        let path = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let text = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        Self {
            home: path("HOME"),
            xdg_config_home: path("XDG_CONFIG_HOME"),
            no_color: path("NO_COLOR").is_some(),
            key_password: std::env::var("PALISADE_KEY_PASSWORD")
                .or_else(|_| std::env::var("COSIGN_PASSWORD"))
                .ok(),
            docker_config: path("DOCKER_CONFIG"),
            registry_auth_file: path("REGISTRY_AUTH_FILE"),
            registries_conf: path("CONTAINERS_REGISTRIES_CONF"),
            xdg_runtime_dir: path("XDG_RUNTIME_DIR"),
            xdg_cache_home: path("XDG_CACHE_HOME"),
            xdg_data_home: path("XDG_DATA_HOME"),
            id_token: text("SIGSTORE_ID_TOKEN"),
            id_token_request: text("ACTIONS_ID_TOKEN_REQUEST_URL")
                .zip(text("ACTIONS_ID_TOKEN_REQUEST_TOKEN")),
            proxies: read_proxies(),
            falco_hostname: std::env::var("FALCO_HOSTNAME").ok().filter(|name| !name.is_empty()),
        }
    }
}

/// Where the OCI runtime's settings are, when not in their usual place.
#[expect(clippy::disallowed_methods, reason = "a part of the one place")]
fn runtime_settings() -> Option<PathBuf> {
    std::env::var_os("PALISADE_RUNTIME_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The variables of curl and Go's programs; the lower-case ones come first, and `HTTP_PROXY`
/// in capitals is left to CGI programs (httpoxy, CVE-2016-5385).
#[expect(clippy::disallowed_methods, reason = "a part of the one place")]
fn read_proxies() -> palisade_http::Proxies {
    let first = |names: &[&str]| {
        names.iter().find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()))
    };
    let all = first(&["all_proxy", "ALL_PROXY"]);
    palisade_http::Proxies {
        https: first(&["https_proxy", "HTTPS_PROXY"]).or_else(|| all.clone()),
        http: first(&["http_proxy"]).or(all),
        except: first(&["no_proxy", "NO_PROXY"]).unwrap_or_default(),
    }
}

fn run(environment: &Environment, arguments: &[OsString]) -> u8 {
    let plain = Terminal::new(false, false);
    let files = settings::config_files(
        environment.home.as_deref(),
        environment.xdg_config_home.as_deref().map(Path::new),
    );
    let configured = match settings::read(Cli::command, &files) {
        Ok(configured) => configured,
        Err(problems) => {
            for problem in problems {
                plain.error(&problem.to_string());
            }
            return Exit::Usage as u8;
        }
    };
    let command = settings::layer_named(Cli::command(), &configured, arguments);
    let parsed = command
        .try_get_matches_from(arguments)
        .and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are results; everything else is a usage error.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Clean };
            let _ = error.print();
            return exit as u8;
        }
    };
    let color = match cli.global.color {
        cli::ColorChoice::Always => true,
        cli::ColorChoice::Never => false,
        cli::ColorChoice::Auto => {
            !environment.no_color && std::io::IsTerminal::is_terminal(&std::io::stdout())
        }
    };
    let terminal = Terminal::new(color, cli.global.quiet);
    terminal::start_logging(cli.global.log_level);
    match commands::run(&cli, terminal, environment) {
        Ok(exit) => exit as u8,
        Err(failure) => {
            terminal.error(&failure.render());
            failure.code()
        }
    }
}
