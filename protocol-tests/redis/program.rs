//! The program over a Redis: what it says, and what it never says.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use super::{Redis, over, until};
use crate::hostile::figures::watched;
use crate::relay::visitor::get;
use crate::support::UNKNOWN;

/// The program with these variables and no others.
fn program(variables: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_socket2me"));
    program.env_clear().envs(variables.iter().copied()).args(arguments);
    program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    program
}

#[test]
fn a_wrong_url_is_wrong_usage_and_is_not_shown() {
    for (variables, arguments, name) in [
        (&[("REDIS_URL", "tcp://:hunter2@localhost")][..], &["serve"][..], "the variable REDIS_URL"),
        (&[("SOCKET2ME_STORE", "redis:hunter2@localhost")], &["serve"], "the variable SOCKET2ME_STORE"),
        (&[], &["serve", "--redis-url", "redis://:hunter2@localhost:x"], "--redis-url"),
        (&[], &["serve", "--store", "rediss://:hunter2@localhost/#insecure"], "--store"),
        (&[], &["serve", "--store", "redis://:hunter2@localhost:1,localhost:2"], "--store"),
    ] {
        let output = program(variables, arguments).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(name) && message.contains("redis://HOST:PORT"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    let help = program(&[("REDIS_URL", "redis://:hunter2@a")], &["serve", "--help"]).output().unwrap();
    assert!(help.status.success() && !String::from_utf8(help.stdout).unwrap().contains("hunter2"));
}

/// A server of its own process.
pub(super) struct Started {
    process: Child,
    address: SocketAddr,
}

impl Started {
    pub(super) fn new(variables: &[(&str, &str)]) -> Self {
        let mut process = program(variables, &["serve", "--listen=127.0.0.1:0"]).spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let (_, address) = ready.split_once("http://").unwrap();
        Self { process, address: address.split(' ').next().unwrap().parse().unwrap() }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells it to stop, and returns its log.
    pub(super) fn log(mut self) -> String {
        let told = Command::new("kill").arg(self.process.id().to_string()).status().unwrap();
        assert!(told.success());
        self.process.wait().unwrap();
        let mut log = String::new();
        self.process.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        log
    }

    pub(super) async fn works(&self) {
        until("a token to be made", async || (get(self.address, "/new").await.status == 200).then_some(())).await;
    }
}

/// An outage has a line of the log when it begins and one when it ends, however many calls fail.
#[tokio::test]
async fn an_outage_is_logged_once_and_its_end_too_and_no_line_has_the_password() {
    let Some(mut redis) = Redis::start().await else { return };
    redis.kill();
    let url = format!("redis://:hunter2@127.0.0.1:{}", redis.port);
    let server = Started::new(&[("REDIS_URL", url.as_str()), ("SOCKET2ME_LOG", "socket2me=info,redis=trace")]);
    for _ in 0..20 {
        assert_eq!(get(server.address, "/new").await.status, 503);
    }
    redis.restart(&["--requirepass", "hunter2"]).await;
    server.works().await;
    let log = server.log();
    let (away, back) = (log.matches("Redis is away").count(), log.matches("Redis is there again").count());
    assert_eq!((away, back, log.contains("hunter2")), (1, 1, false), "{log}");
}

#[tokio::test]
async fn a_redis_cluster_is_refused_with_a_message() {
    let Some(mut redis) = Redis::start().await else { return };
    redis.kill();
    redis.delete_data();
    redis.restart(&["--cluster-enabled", "yes"]).await;
    for url in [redis.url(), format!("redis://127.0.0.1:1,{}", redis.url())] {
        let server = Started::new(&[("SOCKET2ME_STORE", &url)]);
        assert_eq!(get(server.address, "/new").await.code(), Some("store-unavailable"));
        let log = server.log();
        assert!(log.contains("this is a Redis Cluster") && log.contains("use one Redis"), "{log}");
    }
}

/// The certificate is one that the system trusts, here by a variable, and its name must be that of the URL.
#[tokio::test]
async fn tunnels_are_kept_in_a_redis_behind_tls() {
    let Some(mut redis) = Redis::start().await else { return };
    redis.kill();
    let [key, certificate] = ["key.pem", "certificate.pem"].map(|name| redis.folder().join(name).display().to_string());
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2"]);
    openssl.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]);
    openssl.args(["-addext", "basicConstraints=CA:FALSE", "-keyout", &key, "-out", &certificate]);
    let made = openssl.stderr(Stdio::null()).status();
    if made.is_err() && std::env::var_os("CI").is_none() {
        eprintln!("skipped: there is no openssl");
        return;
    }
    assert!(made.unwrap().success());
    let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-auth-clients", "no"];
    let port = redis.restart_with_tls(&files).await;
    let url = |host| format!("rediss://{host}:{port}");
    let server = Started::new(&[("REDIS_URL", &url("localhost")), ("SSL_CERT_FILE", &certificate)]);
    server.works().await;
    for (url, file) in
        [(url("127.0.0.1"), certificate.as_str()), (url("localhost"), "/etc/ssl/certs/ca-certificates.crt")]
    {
        let server = Started::new(&[("REDIS_URL", &url), ("SSL_CERT_FILE", file)]);
        assert_eq!(get(server.address, "/new").await.code(), Some("store-unavailable"));
        drop(server.log());
    }
    drop(server.log());
}

#[tokio::test]
async fn calls_that_fail_are_counted() {
    let Some(mut redis) = Redis::start().await else { return };
    let url = redis.url();
    let (server, figures) = watched(|config| config.redis_url = over(&url).redis_url).await;
    assert_eq!(server.ask("GET", &format!("/refresh/{UNKNOWN}"), &[], b"").await.status, 500);
    assert_eq!(figures.get(r#"store_errors_total{operation="create"}"#).await, 0);
    redis.kill();
    for _ in 0..3 {
        assert_eq!(server.ask("GET", "/new", &[], b"").await.status, 503);
    }
    assert_eq!(figures.get(r#"store_errors_total{operation="create"}"#).await, 3);
}

/// Runs `socket2me store`, and returns whether it did what it should, with what it printed.
fn moved(action: &str, redis: &Redis, lines: &str) -> (bool, String) {
    let mut child = {
        let mut program = program(&[], &["store", action, "--store", &redis.url()]);
        program.stdin(Stdio::piped()).spawn().unwrap()
    };
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let printed = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.success(), String::from_utf8(printed).unwrap())
}

#[tokio::test]
async fn tunnels_are_moved_to_a_redis_and_from_it() {
    let Some(redis) = Redis::start().await else { return };
    let keyed = |hash: &str, joined| {
        let hash = hash.repeat(32);
        format!(
            r#"{{"key_sha256":"{hash}","ttl_ms":600000,"timeout_ms":1000,"hold_ms":9000,"ends":"spread","repeat":"idempotent","was_joined":{joined}}}"#
        )
    };
    let line = |token: &str, expires: &str, keyed: &str| {
        format!(r#"{{"token":"{token}","made_at":7,"made_by":"192.0.2.1","expires_ms":{expires},"keyed":{keyed}}}"#)
    };
    // In the year 2100, and in 1970.
    let (late, long_ago) = ("4102444800000", "1000");
    let original = line(UNKNOWN, late, "null");
    let mine = line("mine", late, &keyed("ab", true));
    let gone = line("gone", long_ago, &keyed("cd", true));
    let lines = format!("{original}\n{mine}\n{gone}\n");
    // What is somebody else's, and what is no tunnel.
    redis.ask::<()>(&["SET", "somebody", "else"]);
    redis.ask::<()>(&["RPUSH", &UNKNOWN.replace('M', "N"), "a list"]);
    assert_eq!(moved("import", &redis, &lines), (true, "2 imported, 0 there already, 1 expired\n".to_owned()));
    assert_eq!(moved("import", &redis, &lines).1, "0 imported, 2 there already, 1 expired\n");
    let (is_done, exported) = moved("export", &redis, "");
    let without_expiry = |lines: &str| {
        let mut lines: Vec<_> =
            lines.lines().map(|line| line.split("\"expires_ms\":").next().unwrap().to_owned()).collect();
        lines.sort();
        lines
    };
    assert!(is_done && exported.contains(&keyed("ab", true)), "{exported}");
    assert_eq!(without_expiry(&exported), without_expiry(&format!("{original}\n{mine}\n")));
    let (_, listed) = moved("list", &redis, "");
    assert!(listed.lines().count() == 3 && listed.contains(UNKNOWN) && listed.contains("2100-01-01"), "{listed}");
    // Nothing is added when one is another.
    let (is_done, said) = moved(
        "import",
        &redis,
        &format!("{}\n{}\n", line("new", late, &keyed("ab", false)), line("mine", late, &keyed("cd", true))),
    );
    assert!(!is_done && said.contains("nothing was imported") && said.contains("mine"), "{said}");
    assert_eq!(redis.ask::<u64>(&["EXISTS", "s2m:t:new"]), 0);
}

#[tokio::test]
async fn a_redis_that_is_away_moves_nothing_and_says_so() {
    let Some(mut redis) = Redis::start().await else { return };
    redis.kill();
    let (is_done, said) = moved("export", &redis, "");
    assert!(!is_done && said.contains("Redis"), "{said}");
}
