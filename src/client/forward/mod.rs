//! Requests forwarded to an app on this machine, or answered with the files of a folder.
//!
//! - [`target`]: what requests are forwarded to; `connect`: connections to it
//! - [`headers`]: what of a head names a place, outside and at the app
//! - `upload`: a visitor's body on its way to the app; `app`: an exchange with the app, and what follows a 101
//! - `record`: what is told of an exchange once it is over

mod app;
mod connect;
pub mod headers;
mod record;
pub mod target;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use self::app::Forwarder;
use self::headers::{HostHeader, Names};
use self::record::Record;
use self::target::{App, Target};
use super::report::Reporter;
use super::visit::{Handler, Visit, handler};

/// Returns a handler that forwards requests to an app. `tls` holds for apps on other machines. An app that does not listen is waited
/// for as long as `hold`.
#[must_use]
pub fn to_app(
    app: App,
    tls: &Arc<rustls::ClientConfig>,
    host_header: HostHeader,
    hold: Duration,
    report: Reporter,
) -> Handler {
    let names = Names { scheme: app.scheme(), authority: app.authority(), host_header };
    let is_local = Target::App(app.clone()).is_local();
    let forwarder = Arc::new(Forwarder::new(app, is_local, names, tls, hold));
    handler(move |visit: Visit| {
        let (forwarder, record) = (Arc::clone(&forwarder), Record::begin(&visit, &report));
        async move { forwarder.forward(visit, record).await }
    })
}

/// Tells whether the app takes a connection now.
pub async fn is_listening(app: &App, tls: &Arc<rustls::ClientConfig>) -> bool {
    let is_local = Target::App(app.clone()).is_local();
    connect::Connector::new(app.clone(), is_local, tls, Duration::ZERO).connect().await.is_ok()
}
