//! Files that lie beside a registry and are for everybody: signatures in lookaside folders
//! (containers-registries.d(5)). They prove themselves or prove nothing, so that nothing
//! secret is sent for them.

use crate::client::{ATTEMPTS_MAX, Ask, Client};
use crate::error::RegistryError;
use crate::url::Origin;

impl Client {
    /// The file at `url` (`http://` or `https://`), of at most `limit` bytes; `None`: the
    /// server says that there is none. Plain HTTP is spoken where the URL says so.
    ///
    /// # Errors
    ///
    /// Whatever is neither the file nor its absence.
    pub fn public_file(
        &self,
        url: &str,
        what: &str,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let bad = || RegistryError::BadAnswer {
            host: url.chars().take(200).collect(),
            what: what.into(),
            problem: "no usable address".into(),
        };
        let own = Origin::of(url).ok_or_else(bad)?;
        let ask = Ask::get(url, what);
        let answer = self.patiently(&own.host_port(), ATTEMPTS_MAX, || {
            self.follow(&own, url.to_string(), &ask, None, true)
        })?;
        if answer.is_success() {
            return answer.read(what, limit).map(Some);
        }
        match answer.into_error(what, false) {
            RegistryError::NotFound { .. } => Ok(None),
            error => Err(error),
        }
    }
}
