//! Makes clients.

use std::time::Duration;

use crate::tls::{self, TlsError, TlsOptions};

/// Largest header section of an answer, in bytes. Registries and receivers answer with a few
/// kilobytes; what is longer is no answer to us.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// How long one name look-up and one connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How a client behaves.
#[derive(Debug, Clone, Default)]
pub struct ClientOptions<'a> {
    /// What it calls itself: `palisade/0.1.0`.
    pub user_agent: String,
    /// Whom TLS trusts; without it the client speaks plain HTTP alone.
    pub tls: Option<TlsOptions>,
    /// The proxy, as a URL that may hold a name and a password.
    pub proxy: Option<&'a str>,
    /// Longest duration of a whole exchange.
    pub timeout_total: Option<Duration>,
    /// Longest silence: each read and each write must make progress within it.
    pub timeout_idle: Option<Duration>,
}

/// Makes a client. It returns every status as an answer and follows no redirect.
///
/// # Errors
///
/// Certificates that cannot be read, or a proxy that is no URL.
pub fn client(options: &ClientOptions<'_>) -> Result<ureq::Agent, TlsError> {
    let proxy = match options.proxy {
        Some(url) => Some(ureq::Proxy::new(url).map_err(|_| TlsError::BadProxy)?),
        None => None,
    };
    let mut config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(proxy)
        .max_response_header_size(HEADER_BYTES_MAX)
        .timeout_global(options.timeout_total)
        .timeout_per_read(options.timeout_idle)
        .timeout_per_write(options.timeout_idle)
        .timeout_recv_response(options.timeout_idle)
        .timeout_resolve(Some(CONNECT_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .user_agent(options.user_agent.clone());
    if let Some(options) = &options.tls {
        config = config.tls_config(tls::http_config(options)?);
    } else {
        // Without roots nothing is trusted; `https:` then fails instead of trusting at large.
        config = config.tls_config(tls::nothing());
    }
    Ok(config.build().new_agent())
}
