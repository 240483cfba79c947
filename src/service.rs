//! What a service manager such as systemd gives the program, and what it is told: sockets that are bound already, and when the
//! server is ready and when it stops.

use std::io;
use std::net::TcpListener;

/// What a service manager is told (`sd_notify(3)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The server takes requests.
    Ready,
    /// The server takes no new requests, and lets those in flight finish.
    Stopping,
}

impl State {
    /// The assignment by which a manager knows the state.
    #[cfg(unix)]
    fn assignment(self) -> &'static str {
        match self {
            Self::Ready => "READY=1",
            Self::Stopping => "STOPPING=1",
        }
    }
}

/// Takes the sockets that a service manager has bound for this process (`sd_listen_fds(3)`): those of a systemd unit with a
/// `.socket` beside it. Empty if there are none.
///
/// The variables that tell of them are removed, so this is called before the process has a second thread.
///
/// # Errors
/// When one of them is no listener of TCP; the message says what the unit must have.
#[cfg(unix)]
pub fn listeners() -> Result<Vec<TcpListener>, String> {
    let mut given = listenfd::ListenFd::from_env();
    (0..given.len())
        .map(|index| {
            let listener = given.take_tcp_listener(index).and_then(|listener| {
                let listener = listener.ok_or(io::ErrorKind::NotFound)?;
                if accepts(&listener)? { Ok(listener) } else { Err(io::Error::other("it is a connection")) }
            });
            listener.map_err(|error| {
                format!(
                    "cannot serve on socket {} of LISTEN_FDS: {error} (write an address and a port into ListenStream= of the \
                     socket unit, and Accept=no)",
                    index + 1
                )
            })
        })
        .collect()
}

/// Returns no sockets: only Unix has service managers that pass them.
///
/// # Errors
/// Never here.
#[cfg(not(unix))]
pub fn listeners() -> Result<Vec<TcpListener>, String> {
    Ok(Vec::new())
}

/// Returns whether a socket listens: with `Accept=yes` a unit gets a connection of one visitor instead.
#[cfg(any(target_os = "android", target_os = "linux"))]
fn accepts(listener: &TcpListener) -> io::Result<bool> {
    socket2::SockRef::from(listener).is_listener()
}

/// Returns true: the system does not tell.
#[cfg(all(unix, not(any(target_os = "android", target_os = "linux"))))]
fn accepts(_: &TcpListener) -> io::Result<bool> {
    Ok(true)
}

/// Makes listeners of the runtime from those of the service manager.
///
/// # Errors
/// When the system refuses to make one non-blocking.
pub fn adopt(listeners: Vec<TcpListener>) -> io::Result<Vec<tokio::net::TcpListener>> {
    let adopt = |listener: TcpListener| {
        listener.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(listener)
    };
    listeners.into_iter().map(adopt).collect()
}

/// Tells the service manager how the server is, if `NOTIFY_SOCKET` names one that wants to know. A failure is logged: the server
/// works without its manager.
#[cfg(unix)]
pub fn tell(state: State) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else { return };
    if let Err(error) = unix::send(&socket, state.assignment()) {
        let assignment = state.assignment();
        tracing::warn!(%error, ?socket, "cannot tell the service manager {assignment}");
    }
}

/// Does nothing: only Unix has service managers that listen at a socket.
#[cfg(not(unix))]
pub fn tell(_: State) {}

#[cfg(unix)]
mod unix {
    use std::ffi::OsStr;
    use std::io;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    /// Sends one datagram to the socket of this path, or of the abstract name behind `@`.
    pub(super) fn send(socket: &OsStr, message: &str) -> io::Result<()> {
        let address = match socket.as_bytes() {
            [b'@', name @ ..] => of_abstract_name(name)?,
            path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
        };
        UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address).map(drop)
    }

    #[cfg(target_os = "linux")]
    fn of_abstract_name(name: &[u8]) -> io::Result<SocketAddr> {
        <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)
    }

    #[cfg(not(target_os = "linux"))]
    fn of_abstract_name(_: &[u8]) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
