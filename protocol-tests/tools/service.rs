//! `socket2me serve` under a service manager: what it is told, sockets that it has bound, and the units in `deploy/systemd`.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdUnixDatagram};
use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixDatagram};
use tokio::process::Command;

use super::Scratch;
use crate::starting::{BINARY, Started, Variables, program};
use crate::support::within;

const SERVE: &[&str] = &["serve", "--listen=127.0.0.1:0", "--store=memory"];

/// Returns the next message to a service manager.
async fn told(manager: &UnixDatagram) -> String {
    let mut message = [0; 256];
    let length = within("the server to tell", manager.recv(&mut message)).await.unwrap();
    String::from_utf8(message[..length].to_vec()).unwrap()
}

/// Returns whether a service manager was told nothing more.
fn is_told_nothing(manager: &UnixDatagram) -> bool {
    manager.try_recv(&mut [0; 256]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

/// A manager that listens at a path, or at an abstract name as systemd does for containers.
fn managers(scratch: &Scratch) -> [(UnixDatagram, String); 2] {
    let path = scratch.path().join("notify");
    let name = format!("socket2me-{}", path.display());
    let of_name = StdUnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    of_name.set_nonblocking(true).unwrap();
    let of_path = UnixDatagram::bind(&path).unwrap();
    [(of_path, path.to_str().unwrap().to_owned()), (UnixDatagram::from_std(of_name).unwrap(), format!("@{name}"))]
}

#[tokio::test]
async fn a_service_manager_is_told_when_the_server_is_ready_and_when_it_stops() {
    for (manager, socket) in managers(&Scratch::new()) {
        let server = Started::new(&[("NOTIFY_SOCKET", &socket)], SERVE).await;
        assert_eq!(told(&manager).await, "READY=1");
        assert!(server.ask("/readyz", "").await.starts_with("HTTP/1.1 200"));
        assert!(is_told_nothing(&manager));
        let (code, log) = server.stop("-TERM").await;
        assert_eq!((code, &*told(&manager).await), (Some(0), "STOPPING=1"), "{log:?}");
        assert!(is_told_nothing(&manager));
    }
}

#[tokio::test]
async fn a_server_that_cannot_start_never_says_that_it_is_ready() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _taken = TcpListener::bind(taken).unwrap();
    let listen = format!("--listen={taken}");
    for (manager, socket) in managers(&Scratch::new()) {
        let variables = [("NOTIFY_SOCKET", &*socket)];
        let mut server = program(BINARY, &variables, &["serve", "--store=memory", &listen]);
        assert_eq!(within("it to end", server.output()).await.unwrap().status.code(), Some(1));
        assert!(is_told_nothing(&manager));
    }
}

#[tokio::test]
async fn a_service_manager_that_is_gone_stops_nothing() {
    let mut server = Started::new(&[("NOTIFY_SOCKET", "/nonexistent/notify")], SERVE).await;
    server.logged("cannot tell the service manager READY=1").await;
    assert!(server.ask("/readyz", "").await.starts_with("HTTP/1.1 200"));
    assert_eq!(server.stop("-TERM").await.0, Some(0));
}

/// The program with a socket of this test as its descriptor 3, for which `LISTEN_PID` is what the shell makes of these words.
fn activated(socket: impl Into<OwnedFd>, listen_pid: &str, variables: Variables<'_>, arguments: &[&str]) -> Command {
    let script = format!("export LISTEN_FDS=1 LISTEN_PID={listen_pid}; exec \"$0\" \"$@\" 3<&0 </dev/null");
    let arguments = [&["-c", &script, BINARY], arguments].concat();
    let mut command = program("sh", variables, &arguments);
    command.stdin(Stdio::from(socket.into()));
    command
}

#[tokio::test]
async fn a_socket_of_the_service_manager_is_served_in_place_of_listen_and_keeps_early_visitors() {
    let scratch = Scratch::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("--listen={}", taken.local_addr().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut early = TcpStream::connect(address).await.unwrap();
    early.write_all(b"GET /readyz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await.unwrap();

    let state = [("STATE_DIRECTORY", scratch.path().to_str().unwrap())];
    let mut server = Started::of(activated(listener, "$$", &state, &["serve", &listen])).await;
    assert_eq!(server.port(), address.port());
    let mut answer = String::new();
    within("the answer", early.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.logged("the service manager has bound the sockets").await;
    server.logged(&format!("address={address}")).await;
    // Its tunnels are those of a server that has bound the port itself.
    assert!(scratch.path().join(format!("tunnels-{}.redb", address.port())).exists());
    assert_eq!(server.stop("-TERM").await.0, Some(0));
}

#[tokio::test]
async fn sockets_for_another_process_are_left_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = Started::of(activated(listener, "1", &[], SERVE)).await;
    assert_ne!(server.port(), address.port());
    let (code, log) = server.stop("-TERM").await;
    assert_eq!(code, Some(0));
    assert!(!log.iter().any(|line| line.contains("the service manager has bound")), "{log:?}");
}

#[tokio::test]
async fn a_socket_that_cannot_be_served_stops_the_start_with_what_the_unit_must_have() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (unix, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    for (socket, words) in
        [(OwnedFd::from(connection), "it is a connection"), (unix.into(), "tcp socket"), (file.into(), "not a socket")]
    {
        let mut server = activated(socket, "$$", &[], SERVE);
        let output = within("it to end", server.output()).await.unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(words) && told.contains("ListenStream=") && told.contains("Accept=no"), "{told}");
    }
}

/// systemd judges the units as they are, but for the places of the binary and of the manual, which no package has put there. The
/// lower the number the better; 2.0 is where its words are "OK".
#[tokio::test]
async fn systemd_takes_the_units_and_finds_them_hardened() {
    if Command::new("systemd-analyze").arg("--version").stdout(Stdio::null()).status().await.is_err() {
        eprintln!("without systemd, the units are not judged");
        return;
    }
    let (scratch, units) = (Scratch::new(), concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/systemd"));
    for name in ["socket2me.service", "socket2me.socket"] {
        let unit = std::fs::read_to_string(format!("{units}/{name}")).unwrap();
        let lines = unit.lines().filter(|line| !line.starts_with("Documentation="));
        scratch.write(name, lines.collect::<Vec<_>>().join("\n").replace("/usr/bin/socket2me", BINARY) + "\n");
    }
    for arguments in [
        &["verify", "socket2me.service", "socket2me.socket"][..],
        &["security", "--offline=true", "--threshold=20", "socket2me.service"],
    ] {
        let mut analyze = program("systemd-analyze", &[], arguments);
        let output = within("it to end", analyze.current_dir(scratch.path()).output()).await.unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && told.is_empty(), "{arguments:?}: {told}");
    }
}
