//! Where the operator asks: a socket of this machine that its owner alone can open, or an address with a secret.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use http::StatusCode;
use http::header::HeaderMap;
use http::request::Parts;
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;

#[cfg(unix)]
use super::at_path;
use super::calls::{Admin, Failed};
use crate::config::{AdminPlace, Secret};
use crate::defaults;
use crate::net::arrival::Arrival;
use crate::net::body::{self, BodyLimits, RequestBody};
use crate::net::budget::Budget;
use crate::net::listener::{self, Handler};
use crate::net::reply::Reply;
use crate::net::seldom::warn_seldom;
use crate::relay::bearer::bearer;
use crate::relay::bind;

/// What listens for the operator.
#[derive(Debug)]
pub(in crate::relay) enum AdminListener {
    /// At addresses. Each request must show the secret.
    Addresses(Vec<TcpListener>, Secret),
    /// At a path of this machine's.
    #[cfg(unix)]
    Path(tokio::net::UnixListener),
}

/// Listens where the settings say.
///
/// # Errors
/// With a sentence for the operator when an address or a path cannot be listened on, or an address has no secret.
pub(in crate::relay) async fn listen(place: &AdminPlace, secret: Option<&Secret>) -> io::Result<AdminListener> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("cannot serve the operator: {error}"));
    match place {
        AdminPlace::Address(listen) => {
            let secret = secret.ok_or_else(|| {
                let missing =
                    "--admin with an address needs --admin-secret-file: without it, anybody who reaches the address could close tunnels";
                io::Error::new(io::ErrorKind::InvalidInput, missing)
            })?;
            Ok(AdminListener::Addresses(bind(*listen).await.map_err(named)?, secret.clone()))
        }
        #[cfg(unix)]
        AdminPlace::Path(path) => {
            let named = |error: io::Error| {
                io::Error::new(error.kind(), format!("cannot serve the operator at {}: {error}", path.display()))
            };
            remove_dead(path).await.map_err(named)?;
            bind_for_the_owner(path).map(AdminListener::Path).map_err(named)
        }
        #[cfg(not(unix))]
        AdminPlace::Path(_) => {
            Err(named(io::Error::new(io::ErrorKind::Unsupported, "this system has no sockets at paths")))
        }
    }
}

/// Binds a socket that its owner alone can open at any time: it is made in a folder of the owner's, and moved from there.
#[cfg(unix)]
fn bind_for_the_owner(path: &std::path::Path) -> io::Result<tokio::net::UnixListener> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let folder = path.with_file_name(format!(".s2m-{}", std::process::id()));
    let inside = folder.join("s");
    // A process of this number may have ended half-way.
    let _ = std::fs::remove_file(&inside);
    let _ = std::fs::remove_dir(&folder);
    std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
    let bound = tokio::net::UnixListener::bind(&inside).and_then(|listener| {
        std::fs::set_permissions(&inside, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&inside, path)?;
        Ok(listener)
    });
    let _ = std::fs::remove_file(&inside);
    let _ = std::fs::remove_dir(&folder);
    bound
}

/// Removes the socket of a server that has ended without doing so.
#[cfg(unix)]
async fn remove_dead(path: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    match std::fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something else at this path"));
        }
        Ok(_) => (),
    }
    match tokio::net::UnixStream::connect(path).await {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another server listens there")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        // It has ended in this moment.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // It is another user's, or has more connections than it accepts.
        Err(error) => {
            let words = format!(
                "a socket is there, and connecting to it fails, so a server may be listening: {error}. Stop that server, or remove the file"
            );
            Err(io::Error::new(error.kind(), words))
        }
    }
}

/// Serves the operator. Never completes.
pub(in crate::relay) async fn serve(listener: AdminListener, admin: Arc<Admin>) -> Infallible {
    match listener {
        AdminListener::Addresses(listeners, secret) => {
            let guarded = Arc::new(Guarded { admin, secret });
            let serving = listeners.into_iter().map(|listener| {
                let never = std::future::pending::<()>();
                listener::serve(listener, Arc::clone(&guarded), listener::Limits::default(), never)
            });
            futures::future::join_all(serving).await;
        }
        #[cfg(unix)]
        AdminListener::Path(listener) => at_path::serve(&listener, &admin).await,
    }
    std::future::pending().await
}

/// Serves the operator's calls to those who show the secret.
struct Guarded {
    admin: Arc<Admin>,
    secret: Secret,
}

impl Guarded {
    fn is_shown(&self, headers: &HeaderMap) -> bool {
        bool::from(self.secret.as_bytes().ct_eq(bearer(headers).unwrap_or_default()))
    }
}

impl Handler for Guarded {
    async fn serve(&self, head: &mut Parts, body: &mut RequestBody, arrival: &Arrival<'_>) -> Reply {
        if !self.is_shown(&head.headers) {
            warn_seldom!(peer = arrival.peer.text(), "somebody asks for the operator's calls without the secret");
            // A guess takes a moment.
            tokio::time::sleep(defaults::ADMIN_PAUSE).await;
            return Failed(StatusCode::UNAUTHORIZED, "this needs the secret of --admin-secret-file".to_owned()).reply();
        }
        let memory = Budget::new(defaults::MAX_API_BODY);
        let limits =
            BodyLimits { max_bytes: defaults::MAX_API_BODY, stall_timeout: defaults::STALL_TIMEOUT, memory: &memory };
        match body::read(body, limits).await {
            Ok(body) => self.admin.call(arrival.peer.text(), &head.method, head.uri.path(), body.bytes).await,
            Err(_) => Failed(StatusCode::BAD_REQUEST, "the body is too large or did not arrive".to_owned()).reply(),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use tokio::net::{UnixSocket, UnixStream};

    use super::*;

    #[tokio::test]
    async fn the_socket_of_a_server_that_accepts_no_more_connections_stays() {
        let path = std::env::temp_dir().join(format!("socket2me-full-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = UnixSocket::new_stream().unwrap();
        socket.bind(&path).unwrap();
        let listener = socket.listen(1).unwrap();
        let mut waiting = Vec::new();
        // Systems differ in how many they keep. One that refuses them looks as one where nobody listens.
        let is_full = loop {
            match UnixStream::connect(&path).await {
                Ok(stream) if waiting.len() < 100 => waiting.push(stream),
                Ok(_) => break false,
                Err(error) => break error.kind() == io::ErrorKind::WouldBlock,
            }
        };
        assert!(is_full || !cfg!(target_os = "linux"));
        if is_full {
            let refused = remove_dead(&path).await.unwrap_err();
            assert!(refused.to_string().contains("a server may be listening"), "{refused}");
            assert!(path.exists());
        }
        drop((listener, waiting));
        remove_dead(&path).await.unwrap();
        assert!(!path.exists());
        remove_dead(&path).await.unwrap();
    }
}
