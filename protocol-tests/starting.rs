//! The program as an operator starts it: settings that are wrong, empty or odd, its log, and signals.

use std::process::{Output, Stdio};

use socket2me::config::ServeConfig;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::support::end::End;
use crate::support::within;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_socket2me");

/// The settings of a server on a free port.
const SERVE: &[&str] = &["serve", "--listen=127.0.0.1:0", "--store=memory"];

/// Variables as name and value.
pub(crate) type Variables<'v> = &'v [(&'v str, &'v str)];

/// The program with these variables and no others.
pub(crate) fn program(command: &str, variables: Variables<'_>, arguments: &[&str]) -> Command {
    let mut command = Command::new(command);
    command.env_clear().env("PATH", "/usr/bin:/bin").envs(variables.iter().copied()).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs the program, which must end by itself.
pub(crate) async fn ended(variables: Variables<'_>, arguments: &[&str]) -> (Option<i32>, String) {
    let output = within("the program to end", program(BINARY, variables, arguments).output()).await.unwrap();
    let Output { status, stderr, .. } = output;
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// Sends requests, and returns all that is answered until the connection ends.
pub(crate) async fn answers(address: impl ToSocketAddrs, requests: &str) -> String {
    let mut stream = within("a connection", TcpStream::connect(address)).await.unwrap();
    let mut answers = String::new();
    let (mut reading, mut writing) = stream.split();
    let sent = async { within("requests to leave", writing.write_all(requests.as_bytes())).await.unwrap() };
    let ((), read) = tokio::join!(sent, within("answers", reading.read_to_string(&mut answers)));
    read.unwrap();
    answers
}

/// A server that has started.
pub(crate) struct Started {
    pub(crate) child: Child,
    /// Its first line on standard output.
    ready: String,
    _output: Lines<BufReader<ChildStdout>>,
    log: Lines<BufReader<ChildStderr>>,
}

impl Started {
    pub(crate) async fn new(variables: Variables<'_>, arguments: &[&str]) -> Self {
        Self::of(program(BINARY, variables, arguments)).await
    }

    pub(crate) async fn of(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let Some(ready) = within("the server to start", output.next_line()).await.unwrap() else {
            panic!("no server: {:?}", log.next_line().await);
        };
        Self { child, ready, _output: output, log }
    }

    /// The port in the line that says the server is ready.
    pub(crate) fn port(&self) -> u16 {
        let (_, rest) = self.ready.split_once("://").unwrap();
        let (_, port) = rest.rsplit_once(':').filter(|_| !rest.contains("curl")).unwrap_or_else(|| {
            let address = rest.split(' ').next().unwrap();
            address.rsplit_once(':').unwrap()
        });
        port.trim_end_matches(['"', '}']).parse().unwrap()
    }

    /// Asks for something, and returns the response.
    pub(crate) async fn ask(&self, target: &str, headers: &str) -> String {
        let request = format!("GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n");
        answers(("127.0.0.1", self.port()), &request).await
    }

    /// Waits for a line of the log with these words.
    pub(crate) async fn logged(&mut self, words: &str) -> String {
        loop {
            let line = within(words, self.log.next_line()).await.unwrap().unwrap();
            if line.contains(words) {
                return line;
            }
        }
    }

    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([name, &id]).status().await.unwrap().success());
    }

    /// Stops the server, and returns its exit code and the rest of its log.
    pub(crate) async fn stop(mut self, signal: &str) -> (Option<i32>, Vec<String>) {
        self.signal(signal).await;
        let mut lines = Vec::new();
        while let Some(line) = within("the log's end", self.log.next_line()).await.unwrap() {
            lines.push(line);
        }
        (within("the server to end", self.child.wait()).await.unwrap().code(), lines)
    }
}

#[tokio::test]
async fn a_setting_that_is_wrong_stops_the_start_and_is_named() {
    for (variables, arguments, words) in [
        (&[("PORT", "x")][..], &[][..], "the variable PORT"),
        (&[("PORT", "tcp://10.0.0.1:3000")], &[], "the variable PORT"),
        (&[("SOCKET2ME_LOG", "inof")], &[], "the variable SOCKET2ME_LOG"),
        (&[("SOCKET2ME_LOG_FORMAT", "xml")], &[], "the variable SOCKET2ME_LOG_FORMAT"),
        (&[("TOKEN_EXPIRE_SECONDS", "0")], &[], "the variable TOKEN_EXPIRE_SECONDS"),
        (&[("PORT", "x")], &["--port=y"], "invalid value 'y' for '--port <PORT>'"),
        (&[], &["--listen=127.0.0.1:0", "--port=0"], "--listen and --port"),
        (&[], &["--listen=127.0.0.1"], "localhost:3000"),
        (&[], &["--log=inof"], "is not a level"),
        (&[], &["--public-url=tunnel.example"], "https://tunnel.example"),
        (&[], &["--response-timeout=0"], "write at least 1ms"),
        (&[], &["--max-connections=0"], "less than 1"),
        (&[], &["--max-head=1KiB"], "less than 8KiB"),
        (&[], &["--store=disk"], "write memory, or file: and a path"),
    ] {
        let arguments = [&["serve"], arguments].concat();
        let (code, log) = ended(variables, &arguments).await;
        assert!(code == Some(2) && log.contains(words), "{variables:?} {arguments:?}: {code:?} {log}");
    }
}

#[tokio::test]
async fn a_variable_that_is_empty_is_absent() {
    use clap::CommandFactory as _;
    let command = socket2me::config::Cli::command();
    let args = command.get_arguments().chain(command.find_subcommand("serve").unwrap().get_arguments());
    let names: Vec<_> = args.filter_map(clap::Arg::get_env).map(|name| name.to_str().unwrap().to_owned()).collect();
    assert!(names.len() > 30);
    let variables: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    let server = Started::new(&variables, SERVE).await;
    assert!(server.ask("/healthz", "").await.starts_with("HTTP/1.1 200"));
    assert_eq!(server.stop("-TERM").await.0, Some(0));
}

#[tokio::test]
async fn a_flag_beats_a_variable_that_says_otherwise() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let port = address.port().to_string();
    for (variable, arguments) in [
        (("PORT", port.as_str()), SERVE),
        (("SOCKET2ME_LISTEN", &address.to_string()), &["serve", "--store=memory", "--port=0"]),
    ] {
        let server = Started::new(&[variable], arguments).await;
        assert!(server.ask("/healthz", "").await.starts_with("HTTP/1.1 200"), "{variable:?}");
    }
}

#[tokio::test]
async fn a_rate_limit_of_zero_is_none() {
    let variables =
        [("THROTTLE_INTERVAL_MS", "0"), ("THROTTLE_INTERVAL_MAX", "0"), ("THROTTLE_INTERVAL_BURST_MAX", "0")];
    for variable in variables {
        let server = Started::new(&[variable, ("SOCKET2ME_MAX_TUNNELS_PER_ADDRESS", "0")], SERVE).await;
        for _ in 0..3 {
            assert!(server.ask("/new", "").await.starts_with("HTTP/1.1 200"), "{variable:?}");
        }
    }
}

#[tokio::test]
async fn localhost_is_reached_by_its_name() {
    let server = Started::new(&[], &["serve", "--store=memory", "--listen=localhost:0"]).await;
    TcpStream::connect(("localhost", server.port())).await.unwrap();
    assert!(server.ask("/healthz", "").await.starts_with("HTTP/1.1 200"));
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        TcpStream::connect(("::1", server.port())).await.unwrap();
    }
    assert_eq!(server.stop("-TERM").await.0, Some(0));
}

#[tokio::test]
async fn the_log_is_json_from_the_first_line_to_the_last() {
    let server = Started::new(&[("SOCKET2ME_LOG_FORMAT", "json")], SERVE).await;
    let ready: serde_json::Value = serde_json::from_str(&server.ready).unwrap();
    assert_eq!((&ready["message"], &ready["level"]), (&"Socket2Me is ready".into(), &"INFO".into()));
    assert!(ready["url"].as_str().unwrap().starts_with("http://127.0.0.1:"));
    let (_, lines) = server.stop("-TERM").await;
    assert!(
        lines.len() > 2 && lines.iter().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
        "{lines:?}"
    );
    let (code, log) = ended(&[], &["--log-format=json", "serve", "--store=memory", "--listen=192.0.2.1:1"]).await;
    let fault: serde_json::Value = serde_json::from_str(log.lines().next_back().unwrap()).unwrap();
    assert_eq!((code, &fault["level"]), (Some(1), &"ERROR".into()));
    assert!(fault["message"].as_str().unwrap().starts_with("cannot listen on 192.0.2.1:1: "), "{fault}");
}

#[tokio::test]
async fn a_variable_that_is_no_setting_is_warned_of() {
    let variables =
        [("SOCKET2ME_MAX_CONECTIONS", "3"), ("SOCKET2ME_SERVICE_HOST", "10.0.0.1"), ("SOCKET2ME_MAX_SESIONS", "")];
    let (_, lines) = Started::new(&variables, SERVE).await.stop("-TERM").await;
    let warned = lines.iter().filter(|line| line.contains("SOCKET2ME_")).collect::<Vec<_>>();
    assert!(warned.len() == 1 && warned[0].contains("SOCKET2ME_MAX_CONECTIONS"), "{lines:?}");
}

#[tokio::test]
async fn names_that_are_no_options_of_an_end_are_logged_once_a_session_and_no_values() {
    for (auth, expected) in [
        (r#"{"rawheaders":"hunter2","body":"raw"}"#, 1),
        (r#"{"rawheaders":"hunter2","notices":true}"#, 0),
        (r#"{"body":"raw"}"#, 0),
    ] {
        let server = Started::new(&[("SOCKET2ME_LOG", "trace")], SERVE).await;
        let mut end = End::open(([127, 0, 0, 1], server.port()).into()).await;
        for _ in 0..3 {
            let answer = server.ask("/new", "").await;
            let (_, token) = answer.split_once("\r\n\r\n").unwrap();
            end.join(token, auth).await.unwrap();
            if auth.contains("notices") {
                assert!(end.text().await.contains("unknown-option"));
            }
        }
        let (_, lines) = server.stop("-TERM").await;
        let warned: Vec<_> = lines.iter().filter(|line| line.contains("rawheaders")).collect();
        assert_eq!(warned.len(), expected, "{auth}: {warned:?}");
        assert!(!lines.iter().any(|line| line.contains("hunter2")), "{auth}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_trusted_is_warned_of_once() {
    for (trusted, warnings) in [("10.0.0.0/8", 1), ("127.0.0.1", 0)] {
        let server = Started::new(&[("SOCKET2ME_TRUST_PROXY", trusted)], SERVE).await;
        for _ in 0..3 {
            server.ask("/new", "X-Forwarded-For: 203.0.113.9\r\n").await;
        }
        let (_, lines) = server.stop("-TERM").await;
        assert_eq!(
            lines.iter().filter(|line| line.contains("--trust-proxy")).count(),
            warnings,
            "{trusted}: {lines:?}"
        );
    }
}

#[tokio::test]
async fn sighup_drains_as_sigterm_does() {
    for signal in ["-HUP", "-TERM", "-INT"] {
        // The process that runs this test may ignore SIGHUP, as `nohup` does.
        let arguments = [&["--default-signal=HUP", BINARY], SERVE].concat();
        let (code, lines) = Started::of(program("env", &[], &arguments)).await.stop(signal).await;
        assert_eq!(code, Some(0), "{signal}");
        assert!(
            lines.iter().any(|line| line.contains("stopping: exchanges in flight may finish")),
            "{signal}: {lines:?}"
        );
    }
}

#[tokio::test]
async fn sighup_stays_ignored_where_it_was() {
    let script = format!("trap '' HUP; exec {BINARY} serve --store=memory --listen=127.0.0.1:0");
    let server = Started::of(program("sh", &[], &["-c", &script])).await;
    server.signal("-HUP").await;
    assert!(server.ask("/healthz", "").await.starts_with("HTTP/1.1 200"));
    assert_eq!(server.stop("-TERM").await.0, Some(0));
}

#[tokio::test]
async fn the_limit_of_open_files_is_raised_and_warned_of_where_it_is_too_low() {
    let limits = ServeConfig::defaults().limits;
    let script = format!("ulimit -Sn 64; ulimit -Hn 256; exec {BINARY} serve --store=memory --listen=127.0.0.1:0");
    let server = Started::of(program("sh", &[], &["-c", &script])).await;
    let of_process = std::fs::read_to_string(format!("/proc/{}/limits", server.child.id().unwrap())).unwrap();
    let files = of_process.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("256"), "{files}");
    let (_, lines) = server.stop("-TERM").await;
    let warned = lines.iter().find(|line| line.contains("--max-connections")).unwrap();
    assert!(warned.contains(&format!("wanted={}", limits.max_connections + 64)), "{warned}");
    let script =
        format!("ulimit -Sn 64; exec {BINARY} serve --store=memory --listen=127.0.0.1:0 --max-connections=100");
    let (_, lines) = Started::of(program("sh", &[], &["-c", &script])).await.stop("-TERM").await;
    assert!(!lines.iter().any(|line| line.contains("open files")), "{lines:?}");
}

/// Nobody reads the log: the pipe is full, and the lines that wait are as many as may.
#[tokio::test]
async fn a_log_that_nobody_reads_stops_nothing_and_lines_are_counted() {
    let metrics = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let figures_at = format!("--metrics-listen={metrics}");
    let arguments = [SERVE, &[&figures_at]].concat();
    let mut server = Started::new(&[], &arguments).await;
    // Each token has a line in the log.
    let asked = "GET /new HTTP/1.1\r\nHost: test\r\n\r\n".repeat(500)
        + "GET /new HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    let mut lost = 0;
    for _ in 0..60 {
        let answered = answers(("127.0.0.1", server.port()), &asked).await;
        assert_eq!(answered.matches("HTTP/1.1 200").count(), 501);
        let figures = answers(metrics, "GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await;
        let line = figures.lines().find_map(|line| line.strip_prefix("socket2me_log_lines_lost_total "));
        lost = line.unwrap().parse().unwrap();
        if lost > 0 {
            break;
        }
    }
    assert!(lost > 0);
    server.signal("-TERM").await;
    assert_eq!(within("the server to end", server.child.wait()).await.unwrap().code(), Some(0));
}
