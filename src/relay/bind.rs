//! The sockets on which a server listens.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

use crate::config::Listen;

/// Connections that may wait to be accepted. The system has a limit of its own.
const BACKLOG: u32 = 1024;

/// Ports that the system chose and that are not free at both loopback addresses, before the server gives up: with half of all ports
/// taken, one start in 256.
const PORTS_TRIED: u32 = 8;

/// Listens where a setting says. On a machine that has one of IPv4 and IPv6 alone, "all interfaces" and `localhost` are those
/// of that one.
///
/// # Errors
/// When an address is taken or is not this machine's; the message names it, and says what to do.
pub async fn bind(listen: Listen) -> io::Result<Vec<TcpListener>> {
    let bound = match listen {
        Listen::Address(address) if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            everywhere(address.port()).await
        }
        Listen::Address(address) => TcpListener::bind(address).await.map(|listener| vec![listener]),
        Listen::Everywhere(port) => everywhere(port).await,
        Listen::Loopback(port) => loopbacks(port).await,
    };
    bound.map_err(|error| {
        let what_to_do = match error.kind() {
            io::ErrorKind::AddrInUse => " (another program has this port: stop it, or choose another)",
            io::ErrorKind::PermissionDenied => " (ports below 1024 are for privileged programs: choose another)",
            io::ErrorKind::AddrNotAvailable => " (this machine has no such address)",
            _ => "",
        };
        io::Error::new(error.kind(), format!("cannot listen on {listen}: {error}{what_to_do}"))
    })
}

/// Listens on all interfaces with one socket, whatever the system's default for IPv6 is.
async fn everywhere(port: u16) -> io::Result<Vec<TcpListener>> {
    let both = || {
        let socket = TcpSocket::new_v6()?;
        socket2::SockRef::from(&socket).set_only_v6(false)?;
        // As for any other listener: a server may start again while connections of the one before are closing.
        #[cfg(not(windows))]
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?;
        socket.listen(BACKLOG)
    };
    let listener = match both() {
        Err(error) if is_of_a_missing_family(&error) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?,
        bound => bound?,
    };
    Ok(vec![listener])
}

/// Listens at both loopback addresses, on the same port.
async fn loopbacks(port: u16) -> io::Result<Vec<TcpListener>> {
    on_a_port(port, || both_loopbacks(port)).await
}

/// Binds, and once more if the system chose a port that is free for one family, and another program has it for the other.
async fn on_a_port<B, F>(port: u16, bind: impl Fn() -> F) -> io::Result<B>
where
    F: Future<Output = io::Result<B>>,
{
    let mut bound = bind().await;
    for _ in 1..PORTS_TRIED {
        match &bound {
            Err(error) if port == 0 && error.kind() == io::ErrorKind::AddrInUse => bound = bind().await,
            Ok(_) | Err(_) => break,
        }
    }
    bound
}

async fn both_loopbacks(port: u16) -> io::Result<Vec<TcpListener>> {
    let ipv4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let port = match &ipv4 {
        Ok(listener) => listener.local_addr()?.port(),
        Err(_) => port,
    };
    match (ipv4, TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await) {
        (Ok(ipv4), Ok(ipv6)) => Ok(vec![ipv4, ipv6]),
        (Ok(only), Err(error)) | (Err(error), Ok(only)) if is_of_a_missing_family(&error) => {
            tracing::debug!(%error, "this machine has one loopback address alone");
            Ok(vec![only])
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// Returns whether an address could not be bound because the machine has no IPv4 or no IPv6.
fn is_of_a_missing_family(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_port_alone_takes_connections_of_both_families() {
        let listeners = bind(Listen::Everywhere(0)).await.unwrap();
        let [listener] = &listeners[..] else { panic!("{listeners:?}") };
        let address = listener.local_addr().unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).await.unwrap();
        if address.is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, address.port())).await.unwrap();
        }
    }

    #[tokio::test]
    async fn localhost_is_every_loopback_address_on_one_port() {
        let listeners = bind(Listen::Loopback(0)).await.unwrap();
        let addresses: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() == addresses[0].port()));
        let has_ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.is_ok();
        assert_eq!(addresses.len(), if has_ipv6 { 2 } else { 1 }, "{addresses:?}");
    }

    #[tokio::test]
    async fn a_port_that_the_system_chose_and_one_family_has_not_is_chosen_anew() {
        for (port, taken, expected) in
            [(0, 0, Ok(1)), (0, 3, Ok(4)), (0, 99, Err(PORTS_TRIED)), (3000, 0, Ok(1)), (3000, 1, Err(1))]
        {
            let tried = Cell::new(0);
            let bind = || {
                tried.set(tried.get() + 1);
                let bound = if tried.get() > taken { Ok(tried.get()) } else { Err(io::ErrorKind::AddrInUse.into()) };
                std::future::ready(bound)
            };
            let bound = on_a_port(port, bind).await;
            assert_eq!(bound.map_err(|_| tried.get()), expected, "{port}, {taken} taken");
        }
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named_with_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let _listener = TcpListener::bind(taken).await.unwrap();
        for listen in [Listen::Address(taken), Listen::Loopback(taken.port())] {
            let error = bind(listen).await.unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("cannot listen on {listen}: "))
                    && error.contains("stop it, or choose another"),
                "{error}"
            );
        }
    }
}
