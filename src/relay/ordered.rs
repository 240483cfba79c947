//! Certificates that the server orders itself, as the settings ask for it.

use std::io;

use super::settings;
use crate::acme::{Acme, Shown};
use crate::config::ServeConfig;
use crate::store::Store;

/// Prepares to order certificates. `None` if the settings have no names for it.
///
/// # Errors
/// With a sentence for the operator when the store does not outlive a restart, or what is kept in it cannot be read.
pub(super) async fn open<H: Send + Sync + 'static>(
    config: &ServeConfig,
    store: &Store<H>,
    shown: Option<Shown>,
) -> io::Result<Option<Acme>> {
    let Some(shown) = shown.filter(|_| config.acme.is_on()) else { return Ok(None) };
    let kept = (store.values(), settings::seal(config));
    let acme = Acme::new(&config.acme, kept, shown, config.tls.http_listen.is_some()).await;
    acme.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}
