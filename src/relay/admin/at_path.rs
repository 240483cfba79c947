//! Connections at a path, whose peers are this machine's, and by the socket's mode the server's own user or root.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::calls::{Admin, Failed};
use crate::defaults;
use crate::net::reply::ReplyBody;

/// Connections at a time; others wait.
const CONNECTIONS: usize = 16;

pub(super) async fn serve(listener: &UnixListener, admin: &Arc<Admin>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let admin = Arc::clone(admin);
                drop(tokio::spawn(async move {
                    // A peer that says nothing gives its place up.
                    let _ = tokio::time::timeout(defaults::HEAD_TIMEOUT, connection(stream, &admin)).await;
                    drop(place);
                }));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection of the operator");
                tokio::time::sleep(defaults::ADMIN_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: UnixStream, admin: &Arc<Admin>) -> hyper::Result<()> {
    let by = name(stream.peer_cred().ok().map(|peer| peer.uid()));
    let service = service_fn(async |request| Ok::<_, Infallible>(answer(admin, &by, request).await));
    http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service).await
}

/// Names a user of this machine for the log. `None` is one that the system does not tell.
fn name(user: Option<u32>) -> String {
    user.map_or_else(|| "a user of this machine".to_owned(), |user| format!("user {user}"))
}

async fn answer(admin: &Arc<Admin>, by: &str, request: Request<Incoming>) -> Response<ReplyBody> {
    let (head, body) = request.into_parts();
    match Limited::new(body, defaults::MAX_API_BODY).collect().await {
        Ok(body) => admin.call(by, &head.method, head.uri.path(), body.to_bytes()).await,
        Err(_) => Failed(StatusCode::BAD_REQUEST, "the body is too large or did not arrive".to_owned()).reply(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_that_the_system_does_not_tell_is_not_taken_for_root() {
        assert_eq!((&*name(Some(0)), &*name(None)), ("user 0", "a user of this machine"));
    }
}
