//! The bare connection after a 101, for bytes that this process does not look into.

use std::future::Future;

use bytes::Bytes;
use http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::connection::Connection;
use super::http_connection::HttpConnection;

/// Returns the connection of a request once its reply, which must have the status 101, was sent; and the bytes of the peer that were
/// read already. `None` when it never is: the peer left before, or the request asks for no upgrade that HTTP/1.1 knows.
///
/// The future must be run by another task than the request's: it completes after the handler has returned the reply. It must be
/// dropped if the reply has another status.
pub fn accept(head: &mut Parts) -> impl Future<Output = Option<(Connection, Bytes)>> + Send + use<> {
    let upgrade = head.extensions.remove::<OnUpgrade>();
    async move {
        // The only kind of connection that the listener makes.
        let parts = upgrade?.await.ok()?.downcast::<TokioIo<HttpConnection>>().ok()?;
        // A copy: hyper's buffer may be much larger than what is left in it.
        Some((parts.io.into_inner().into_inner(), Bytes::copy_from_slice(&parts.read_buf)))
    }
}
