//! What serves a tunnel's requests: an app on this machine, the files of a folder, or this program alone.
//!
//! - [`target`]: what requests are forwarded to; `connect`: connections to it
//! - [`headers`]: what of a head names a place, outside and at the app
//! - `upload`: a visitor's body on its way to the app; `app`: an exchange with the app, and what follows a 101
//! - `fixed`: one response for all; `dump`: requests that are printed, and `shown`: as what
//! - `folder`: the files of a folder; `paths`: which of them are served
//! - `answer`: a response on its way to the visitor; `record`: what is told of an exchange once it is over
//! - [`kept`]: the last request, kept to be repeated; [`watch`]: a handler that is watched, and repeats it

mod answer;
mod app;
mod connect;
mod dump;
mod fixed;
mod folder;
pub mod headers;
pub mod kept;
mod paths;
mod record;
mod shown;
pub mod target;
mod upload;
pub mod watch;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use self::app::Forwarder;
pub(super) use self::connect::unverified;
use self::dump::Dump;
use self::fixed::Fixed;
use self::folder::Folder;
use self::headers::{HostHeader, Names};
use self::record::Record;
pub use self::shown::Show;
use self::target::{App, Target};
use super::report::Reporter;
use super::visit::{Handler, Visit, handler};

/// Returns a handler that forwards requests to an app. `tls` holds for apps on other machines. An app that does not listen is waited
/// for as long as `hold`. With `keeps_prefix` it is asked for the path of the whole URL, in a tunnel by path.
#[must_use]
pub fn to_app(
    app: App,
    tls: &Arc<rustls::ClientConfig>,
    (host_header, keeps_prefix): (HostHeader, bool),
    hold: Duration,
    report: Reporter,
) -> Handler {
    let names = Names { scheme: app.scheme(), authority: app.authority(), host_header, keeps_prefix };
    let is_local = Target::App(app.clone()).is_local();
    let forwarder = Arc::new(Forwarder::new(app, is_local, names, tls, hold));
    handler(move |visit: Visit| {
        let (forwarder, record) = (Arc::clone(&forwarder), Record::begin(&visit, &report));
        async move { forwarder.forward(visit, record).await }
    })
}

/// Returns a handler that serves the files of a folder.
#[must_use]
pub fn to_folder(root: &Path, report: Reporter) -> Handler {
    let folder = Arc::new(Folder::new(root));
    handler(move |visit: Visit| {
        let (folder, record) = (Arc::clone(&folder), Record::begin(&visit, &report));
        async move { folder.serve(visit, record).await }
    })
}

/// Returns a handler that answers each request with the same response. A body without a type is text.
#[must_use]
pub fn to_response(status: StatusCode, headers: HeaderMap, body: Bytes, report: Reporter) -> Handler {
    let fixed = Arc::new(Fixed::new(status, headers, body));
    handler(move |visit: Visit| {
        let (fixed, record) = (Arc::clone(&fixed), Record::begin(&visit, &report));
        async move { fixed.serve(visit, record).await }
    })
}

/// Returns a handler that writes each request to standard output, and then answers it with 200 and nothing. Of a body, at most
/// `max_body` bytes are shown.
#[must_use]
pub fn to_dump(show: Show, max_body: usize) -> Handler {
    let dump = Arc::new(Dump::new(show, max_body));
    handler(move |visit: Visit| {
        let dump = Arc::clone(&dump);
        async move { dump.serve(visit).await }
    })
}

/// Tells whether the app takes a connection now.
pub async fn is_listening(app: &App, tls: &Arc<rustls::ClientConfig>) -> bool {
    let is_local = Target::App(app.clone()).is_local();
    connect::Connector::new(app.clone(), is_local, tls, Duration::ZERO).connect().await.is_ok()
}
