//! The relay with certificates that it orders itself, and the program.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use socket2me::config::{Listen, ServeConfig, StorePlace};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::directory::Directory;
use super::server::{Client, NAME, leaf, settings};
use super::state::Place;
use crate::hostile::figures::{free_address, watched};
use crate::relay::visitor::get;
use crate::support::within;

const DAY: i64 = 86_400;

/// Waits until a server has a certificate, which is not `before`.
async fn connection(client: &Client, address: SocketAddr, before: Option<&[u8]>) -> TlsStream<TcpStream> {
    let asking = async {
        loop {
            match client.connect(address, NAME).await {
                Some(connection) if before != Some(&leaf(&connection)) => return connection,
                Some(_) | None => tokio::task::yield_now().await,
            }
        }
    };
    within("a certificate", asking).await
}

/// Asks for something on a connection that stays open.
async fn is_served(connection: &mut TlsStream<TcpStream>) -> bool {
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {NAME}\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    within("an answer", connection.read_exact(&mut answer)).await.unwrap();
    // Its rest is read with the next answer's.
    let mut rest = vec![0; 64 << 10];
    let _ = within("the rest of the answer", connection.read(&mut rest)).await.unwrap();
    answer == *b"HTTP/1.1 200"
}

#[tokio::test]
async fn a_certificate_is_swapped_while_visitors_are_served() {
    let directory = Directory::start().await;
    directory.rule(|rules| (rules.window, rules.hold) = (Some((-2 * DAY, -DAY)), Some((Place::Challenge, None))));
    let (acme, store) = (settings(&directory, &[NAME]), directory.folder().join("tunnels.redb"));
    let (server, figures) = watched(|config| {
        (config.acme, config.store) = (acme, Some(StorePlace::File(store)));
    })
    .await;
    directory.rule(|rules| {
        rules.tls_port = server.address.port();
        rules.hold = Some((Place::NewOrder, Some(Place::RenewalInfo)));
    });
    let client = Client::of(&directory.root());
    let mut old = connection(&client, server.address, None).await;
    let first = leaf(&old);
    assert!(is_served(&mut old).await);
    directory.held().await;
    directory.rule(|rules| (rules.window, rules.hold) = (Some((DAY, 2 * DAY)), None));
    let swapped = connection(&client, server.address, Some(&first));
    tokio::pin!(swapped);
    let mut new = loop {
        tokio::select! {
            new = &mut swapped => break new,
            served = is_served(&mut old) => assert!(served, "a connection is not dropped"),
        }
    };
    assert!(is_served(&mut new).await && is_served(&mut old).await);
    assert_eq!(figures.get(r#"acme_attempts_total{result="issued"}"#).await, 2);
    let until = figures.get(&format!(r#"certificate_expires_seconds{{name="{NAME}"}}"#)).await;
    assert!(until > 1_700_000_000, "{until}");
    assert!(client.connect(server.address, "other.test").await.is_none());
}

/// The program with these settings, whose log has all there is.
fn program(arguments: &[&str]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_socket2me"));
    program.env_clear().env("SOCKET2ME_LOG", "trace").args(["serve", "--listen=127.0.0.1:0"]).args(arguments);
    program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    program
}

/// Ends a program, and returns its log.
fn log(mut program: Child) -> String {
    assert!(Command::new("kill").arg(program.id().to_string()).status().unwrap().success());
    let mut log = String::new();
    program.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    program.wait().unwrap();
    log
}

#[tokio::test]
async fn the_program_gets_a_certificate_and_its_log_has_no_key() {
    let directory = Directory::start().await;
    directory.rule(|rules| rules.hold = Some((Place::Challenge, None)));
    let file = directory.folder().join("tunnels.redb");
    let place = format!("--store=file:{}", file.display());
    let root = format!("--acme-ca={}", directory.root().display());
    let url = format!("--acme-directory={}", directory.url());
    let mut server = program(&["--acme", NAME, "--acme-agree-tos", &url, &root, &place]).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let address = ready.split_once("https://").unwrap().1.split(' ').next().unwrap();
    let address: SocketAddr = address.parse().unwrap();
    directory.rule(|rules| (rules.tls_port, rules.hold) = (address.port(), None));
    let mut served = connection(&Client::of(&directory.root()), address, None).await;
    assert!(is_served(&mut served).await);
    drop(served);
    let log = tokio::task::spawn_blocking(move || log(server)).await.unwrap();
    assert!(log.contains("a certificate is ordered") && log.contains("a certificate is there"), "{log}");
    let kept = std::fs::read(file).unwrap();
    let kept = String::from_utf8_lossy(&kept);
    let keys: Vec<_> = kept.split(r#""key":""#).skip(1).map(|key| key.split('"').next().unwrap()).collect();
    assert!(keys.len() >= 2, "the keys of the account and of the certificate are kept");
    for key in keys {
        assert!(key.len() > 100 && !log.contains(&key[50..90]), "{key}");
    }
}

#[tokio::test]
async fn the_plain_listener_of_the_relay_answers_a_directory() {
    let directory = Directory::start().await;
    directory.rule(|rules| (rules.offered, rules.hold) = (vec!["http-01"], Some((Place::Challenge, None))));
    let (acme, store) = (settings(&directory, &[NAME]), directory.folder().join("tunnels.redb"));
    let plain = free_address();
    let (server, _figures) = watched(|config| {
        (config.acme, config.store) = (acme, Some(StorePlace::File(store)));
        config.tls.http_listen = Some(Listen::Address(plain));
    })
    .await;
    directory.rule(|rules| (rules.http, rules.hold) = (plain, None));
    assert!(is_served(&mut connection(&Client::of(&directory.root()), server.address, None).await).await);
    // A visitor who asks for what the directory has asked for learns nothing.
    let token = directory.state().orders[0].token.clone();
    assert_eq!(get(plain, &format!("/.well-known/acme-challenge/{token}")).await.status, 404);
}

#[test]
fn settings_that_cannot_work_stop_the_start_with_what_to_do() {
    for (arguments, code, words) in [
        (&["--acme", NAME][..], 2, "--acme-agree-tos"),
        (&["--acme", "*.relay.test", "--acme-agree-tos"], 2, "--acme-dns-hook"),
        (&["--acme", "localhost", "--acme-agree-tos"], 2, "write relay.example.com"),
        (&["--acme", NAME, "--acme-agree-tos", "--acme-directory=http://ca.test/"], 2, "https://"),
        (&["--acme", NAME, "--acme-agree-tos", "--store=memory"], 1, "--store file:"),
        (&["--acme", NAME, "--acme-agree-tos", "--acme-ca=/none", "--store=redis://127.0.0.1:1"], 1, "--acme-ca /none"),
    ] {
        let output = program(arguments).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && message.contains(words), "{arguments:?}: {message}");
    }
}

#[test]
fn defaults_order_no_certificates() {
    assert!(!ServeConfig::defaults().acme.is_on());
}
