//! `forward` on a terminal: the real program in a pseudo-terminal.

mod pty;

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use self::pty::Terminal;
use crate::relay::tunnel::{Server, patient};
use crate::relay::visitor::{Answer, request, visit};
use crate::starting::BINARY;
use crate::support::within;

/// An app that answers each request, and tells of it.
struct App {
    address: SocketAddr,
    asked: mpsc::UnboundedReceiver<(String, Vec<u8>)>,
}

impl App {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (tell, asked) = mpsc::unbounded_channel();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, tell.clone()));
            }
        });
        Self { address, asked }
    }

    /// Waits for a request, and returns its first line and its body.
    async fn asked(&mut self) -> (String, Vec<u8>) {
        within("the app to be asked", self.asked.recv()).await.unwrap()
    }
}

/// Answers one request, which has to have a length. One for `/never` has no answer.
async fn answer(stream: TcpStream, tell: mpsc::UnboundedSender<(String, Vec<u8>)>) {
    let mut stream = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or_default() == 0 {
            return;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    let is_never = head.contains("/never");
    let _ = tell.send((head.lines().next().unwrap().to_owned(), body));
    if is_never {
        let _ = stream.read_u8().await;
        return;
    }
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nok";
    let _ = stream.write_all(answer).await;
}

/// A server, an app, and a terminal in which the program is to run.
struct Session {
    server: Server,
    app: App,
    terminal: Terminal,
}

impl Session {
    async fn new() -> Self {
        Self { server: Server::start(patient()).await, app: App::start().await, terminal: Terminal::open() }
    }

    fn url(&self) -> String {
        format!("http://{}/go/my-app", self.server.address)
    }

    /// The command line of the program.
    fn arguments(&self) -> [String; 8] {
        let (server, app) = (format!("http://{}", self.server.address), self.app.address.to_string());
        [BINARY, "forward", &app, "--server", &server, "--name=my-app", "--url-mode=path", "--ephemeral"]
            .map(str::to_owned)
    }

    /// Runs the program in the terminal, in a session of its own.
    fn command(&self) -> Command {
        self.terminal.command(&self.arguments().each_ref().map(String::as_str))
    }

    /// Runs commands of a shell, in which `"$@"` is the program.
    fn shell(&self, commands: &str) -> Child {
        let arguments = self.arguments();
        let shell: Vec<&str> =
            ["bash", "-c", commands, "bash"].into_iter().chain(arguments.iter().map(String::as_str)).collect();
        self.terminal.command(&shell).spawn().unwrap()
    }

    /// Starts the program, and waits until the tunnel is open.
    async fn open(&mut self) -> Child {
        let child = self.command().spawn().unwrap();
        self.terminal.until(&self.url()).await;
        self.terminal.until("● connected").await;
        child
    }

    async fn post(&self, path: &str, body: &[u8]) -> Answer {
        visit(self.server.address, &request("POST", &format!("/go/my-app{path}"), &[], body)).await
    }

    /// Begins a request that the app does not answer.
    async fn never(&mut self) {
        let address = self.server.address;
        tokio::spawn(async move { visit(address, &request("POST", "/go/my-app/never", &[], b"")).await });
        self.app.asked().await;
        self.terminal.until("1 request, 1 open").await;
    }
}

#[tokio::test]
async fn a_terminal_shows_the_url_requests_and_what_keys_ask_for() {
    let mut session = Session::new().await;
    let child = session.open().await;
    session.terminal.press("r");
    session.terminal.until("there is no request to repeat yet").await;
    assert!(session.terminal.has_keys());

    assert_eq!(session.post("/hook?a=1", b"the body").await.status, 200);
    let asked = session.app.asked().await;
    assert_eq!(asked, ("POST /hook?a=1 HTTP/1.1".to_owned(), b"the body".to_vec()));
    session.terminal.until("/hook?a=1 \x1b[32m200\x1b[0m").await;
    session.terminal.until("1 request, 0 open").await;

    session.terminal.press("r");
    assert_eq!(session.app.asked().await, asked);
    session.terminal.until("/hook?a=1 \x1b[32m200\x1b[0m").await;
    // Visitors have sent one.
    session.terminal.until("1 request, 0 open").await;

    assert_eq!(session.post("/large", &[b'x'; (64 << 10) + 1]).await.status, 200);
    session.app.asked().await;
    session.terminal.until("2 requests, 0 open").await;
    session.terminal.press("r");
    session.terminal.until("POST /large is not repeated: its body has more than 64 KiB").await;

    session.terminal.press("s");
    session.terminal.until("█▀▀▀▀▀█").await;
    session.terminal.press("?");
    session.terminal.until("send the last request to the app once more").await;
    session.terminal.press("c");
    session.terminal.until("\x1b]52;c;aHR0cDovLzEyNy4wLjAuMT").await;
    session.terminal.press("q");
    assert_eq!(session.terminal.ended(child).await, Some(0));
}

#[tokio::test]
async fn a_key_opens_the_url_in_the_browser() {
    let mut session = Session::new().await;
    let folder = std::env::temp_dir().join(format!("socket2me-test-browser-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let script = format!("#!/bin/sh\n[ \"$*\" = '{}' ] && exit 7\n", session.url());
    let browser = folder.join("xdg-open");
    std::fs::write(&browser, script).unwrap();
    std::fs::set_permissions(&browser, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let child = session.command().env("PATH", path).spawn().unwrap();
    session.terminal.until("● connected").await;
    session.terminal.press("o");
    session.terminal.until("xdg-open says exit status: 7").await;
    session.terminal.press("Q");
    assert_eq!(session.terminal.ended(child).await, Some(0));
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn the_terminal_is_as_before_however_the_program_ends() {
    for (keys, code) in [("\x03", 0), ("q", 0), ("\x1c", 131)] {
        let mut session = Session::new().await;
        let child = session.open().await;
        session.terminal.press(keys);
        assert_eq!(session.terminal.ended(child).await, Some(code), "{keys:?}");
    }
    // With a request that is open, the first asks and the second insists.
    for keys in ["\x03", "q"] {
        let mut session = Session::new().await;
        let child = session.open().await;
        session.never().await;
        session.terminal.press(keys);
        session.terminal.until("○ stopping").await;
        session.terminal.press(keys);
        assert_eq!(session.terminal.ended(child).await, Some(1), "{keys:?}");
    }
    for signal in ["-TERM", "-HUP"] {
        let mut session = Session::new().await;
        let child = session.open().await;
        let id = child.id().unwrap().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().await.unwrap().success());
        assert_eq!(session.terminal.ended(child).await, Some(0), "{signal}");
    }
    // The tunnel's key is another end's: the program ends by itself.
    let mut session = Session::new().await;
    let other = session.open().await;
    let mut second = Session { server: session.server, app: session.app, terminal: Terminal::open() };
    let child = second.command().spawn().unwrap();
    second.terminal.until("socket2me: ").await;
    assert_eq!(second.terminal.ended(child).await, Some(3));
    session.terminal.press("q");
    assert_eq!(session.terminal.ended(other).await, Some(0));
}

#[tokio::test]
async fn a_program_that_is_stopped_by_ctrl_z_goes_on_where_it_was() {
    let mut session = Session::new().await;
    let child = session.shell("set -m; \"$@\"; echo; stty -a; fg; echo code $?");
    session.terminal.until("● connected").await;
    session.terminal.press("\x1a");
    let before = session.terminal.until(" echo ").await;
    assert!(before.contains(" icanon "), "{before:?}");
    session.terminal.until("● connected").await;
    // The mode is set by the thread that reads.
    session.terminal.press("?");
    session.terminal.until("show this list").await;
    assert!(session.terminal.has_keys());
    session.terminal.press("q");
    session.terminal.until("code 0").await;
    assert_eq!(session.terminal.ended(child).await, Some(0));
}

#[tokio::test]
async fn ctrl_z_does_nothing_where_no_shell_could_go_on() {
    let mut session = Session::new().await;
    let child = session.open().await;
    session.terminal.press("\x1a");
    session.terminal.press("?");
    session.terminal.until("show this list").await;
    session.terminal.press("q");
    assert_eq!(session.terminal.ended(child).await, Some(0));
}

#[tokio::test]
async fn a_program_in_the_background_leaves_the_terminal_to_others() {
    let mut session = Session::new().await;
    let child = session.shell("set -m; \"$@\" & read -r line; echo \"read $line\"; kill %1; wait %1; echo code $?");
    session.terminal.until(&session.url()).await;
    assert_eq!(session.post("/hook", b"").await.status, 200);
    let shown = session.terminal.until("/hook").await;
    assert!(!shown.contains("connected") && !session.terminal.has_keys(), "{shown:?}");
    session.terminal.press("quit\n");
    session.terminal.until("read quit").await;
    session.terminal.until("code 0").await;
    assert_eq!(session.terminal.ended(child).await, Some(0));
}

#[tokio::test]
async fn lines_are_cut_to_a_window_that_changes() {
    let mut session = Session::new().await;
    let child = session.open().await;
    session.terminal.resize(24);
    session.terminal.until("● connected\x1b[0m  0 request…\r").await;
    assert_eq!(session.post(&format!("/{}", "x".repeat(200)), b"").await.status, 200);
    session.terminal.until("/xxxxxxx…\r\n").await;
    session.terminal.press("s");
    session.terminal.until("too narrow").await;
    session.terminal.press("q");
    assert_eq!(session.terminal.ended(child).await, Some(0));
}

#[tokio::test]
async fn a_lost_connection_is_counted_down_to_the_next_attempt() {
    let mut session = Session::new().await;
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let server = format!("http://{unused}");
    let mut arguments = session.arguments();
    arguments[4] = server;
    let child = session.terminal.command(&arguments.each_ref().map(String::as_str)).spawn().unwrap();
    session.terminal.until("not connected: ").await;
    for seconds in ["2 s", "1 s"] {
        session.terminal.until(&format!("○ connecting again in {seconds}")).await;
    }
    session.terminal.press("q");
    assert_eq!(session.terminal.ended(child).await, Some(0));
}

#[tokio::test]
async fn no_escape_code_goes_into_a_pipe() {
    // Standard error is a pipe; or standard output is; or the terminal knows no codes.
    for (out_is_pipe, error_is_pipe, term) in [(false, true, "xterm"), (true, true, "xterm"), (false, false, "dumb")] {
        let mut session = Session::new().await;
        let mut command = session.command();
        command.env("TERM", term);
        if out_is_pipe {
            command.stdout(Stdio::piped());
        }
        if error_is_pipe {
            command.stderr(Stdio::piped());
        }
        let mut child = command.spawn().unwrap();
        let out = child.stdout.take();
        let error = child.stderr.take();
        let mut shown = String::new();
        let mut error = error.map(BufReader::new);
        match &mut error {
            Some(error) => {
                within("the URL", error.read_line(&mut shown)).await.unwrap();
                assert_eq!(session.post("/\u{9b}2J%1b", b"").await.status, 200);
                within("a line", error.read_line(&mut shown)).await.unwrap();
            }
            None => {
                session.terminal.until("is forwarded to").await;
                assert_eq!(session.post("/hook", b"").await.status, 200);
                session.terminal.until("/hook 200").await;
            }
        }
        assert!(!session.terminal.has_keys());
        session.terminal.press("\x03");
        if let Some(mut error) = error {
            within("the end", error.read_to_string(&mut shown)).await.unwrap();
        }
        if let Some(mut out) = out {
            let mut url = String::new();
            within("the end", out.read_to_string(&mut url)).await.unwrap();
            assert_eq!(url, format!("{}\n", session.url()));
        }
        assert_eq!(session.terminal.ended(child).await, Some(0));
        shown.push_str(&session.terminal.all);
        assert!(!shown.contains('\x1b'), "{shown:?}");
    }
}

#[tokio::test]
async fn the_url_alone_goes_into_a_pipe_beside_a_terminal() {
    let mut session = Session::new().await;
    let mut child = session.command().stdout(Stdio::piped()).env("NO_COLOR", "1").spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    session.terminal.until(&session.url()).await;
    session.terminal.until("● connected").await;
    assert_eq!(session.post("/hook", b"").await.status, 200);
    session.terminal.until("POST /hook 200 ").await;
    session.terminal.press("q");
    let mut url = String::new();
    within("the end", out.read_to_string(&mut url)).await.unwrap();
    assert_eq!(url, format!("{}\n", session.url()));
    assert_eq!(session.terminal.ended(child).await, Some(0));
}
