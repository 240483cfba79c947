//! Certificates from Pebble, a directory that the makers of Let's Encrypt's have written for tests: strict, and it refuses one nonce
//! of five. The program orders them, and all names lead to it by a DNS of Pebble's own, pebble-challtestsrv.
//!
//! Without a `pebble` the tests are skipped and say so, but in CI they fail. `scripts/pebble` fetches one.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use futures::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::authority::Authority;
use super::server::{Client, NAME, leaf};
use super::state::random;
use crate::hostile::figures::free_address;
use crate::redis::until;
use crate::starting::Started;
use crate::support::tool;

/// What Pebble says when it is told to look at a name, and how that ends.
const LOOKS: &str = "Pulled a task from the Tasks queue";
const VALID: &str = "set VALID by completed challenge";
const INVALID: &str = "set INVALID by completed challenge";

/// What Pebble says of a new order, and of a request for what it has found.
const ORDERED: &str = "Added order";
const READ: &str = "POST /authZ/";

/// What the program says of a certificate, and of an attempt that has failed.
const ISSUED: &str = "a certificate is there";
const FAILED: &str = "no new certificate";

/// A Pebble and its DNS, which end with the test.
struct Pebble {
    processes: [Child; 2],
    /// It has the roots of Pebble's own certificate and of those that it issues, the log, and the store of the program.
    folder: PathBuf,
    /// Where Pebble listens.
    directory: SocketAddr,
    management: SocketAddr,
    /// Where the DNS is told of records.
    records: SocketAddr,
    /// Where all names lead, for HTTP-01 and TLS-ALPN-01.
    http: SocketAddr,
    tls: SocketAddr,
}

/// What Pebble does, which tests choose.
#[derive(Default)]
struct Rules {
    /// For how many seconds certificates are valid; 0 for years.
    validity: u32,
    /// How many percent of names that were proved need not be proved again.
    reuse: u32,
}

impl Pebble {
    /// Starts a Pebble. `None` where there is none to start, and that may be.
    async fn start(rules: Rules) -> Option<Self> {
        let program = tool::find("pebble", "SOCKET2ME_PEBBLE", "scripts/pebble", "pebble/usr/bin/pebble")?;
        let folder = std::env::temp_dir().join(format!("socket2me-pebble-{}", random()));
        std::fs::create_dir_all(&folder).unwrap();
        let [directory, management, dns, records, http, tls] = addresses();
        let authority = Authority::new();
        authority.write_root(&folder.join("root.pem"));
        let (certificate, key) = authority.server(&directory.ip().to_string());
        std::fs::write(folder.join("certificate.pem"), certificate.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
        let config = json!({ "pebble": {
            "listenAddress": directory.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": folder.join("certificate.pem"),
            "privateKey": folder.join("key.pem"),
            "httpPort": http.port(),
            "tlsPort": tls.port(),
            "certificateValidityPeriod": rules.validity,
        } });
        std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
        let mut pebble = Command::new(&program);
        pebble.args(["-strict", "-dnsserver", &dns.to_string(), "-config"]).arg(folder.join("config.json"));
        pebble.envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "20")]);
        pebble.env("PEBBLE_AUTHZREUSE", rules.reuse.to_string());
        let log = File::create(folder.join("log")).unwrap();
        pebble.stdout(log.try_clone().unwrap()).stderr(log);
        let mut names = Command::new(program.with_file_name("pebble-challtestsrv"));
        names.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]);
        names.args(["-defaultIPv4", &http.ip().to_string(), "-dns01", &dns.to_string()]);
        names.args(["-management", &records.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let processes = [pebble, names].map(|mut command| command.stdin(Stdio::null()).spawn().unwrap());
        let mut pebble = Self { processes, folder, directory, management, records, http, tls };
        for address in [directory, management, dns, records] {
            pebble.listens(address).await;
        }
        pebble.fetch_root().await;
        Some(pebble)
    }

    /// Waits until one of the two listens.
    async fn listens(&mut self, address: SocketAddr) {
        until("Pebble to start", async || {
            for process in &mut self.processes {
                assert_eq!(process.try_wait().unwrap(), None, "it has ended");
            }
            TcpStream::connect(address).await.ok()
        })
        .await;
    }

    /// Writes the root of what Pebble issues to a file. Each Pebble makes one.
    async fn fetch_root(&self) {
        let client = Client::of(&self.folder.join("root.pem"));
        let mut stream = client.connect(self.management, &self.management.ip().to_string()).await.unwrap();
        stream.write_all(b"GET /roots/0 HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (_, root) = answer.split_once("\r\n\r\n").unwrap();
        std::fs::write(self.folder.join("issued.pem"), root).unwrap();
    }

    /// Starts the program, which orders certificates for these names, with more settings.
    async fn serve(&self, names: &str, arguments: &[String]) -> Started {
        let url = format!("--acme-directory=https://{}/dir", self.directory);
        let root = format!("--acme-ca={}", self.folder.join("root.pem").display());
        let store = format!("--store=file:{}", self.folder.join("tunnels.redb").display());
        let mut all = vec!["serve", "--acme", names, "--acme-agree-tos", &url, &root, &store];
        all.extend(arguments.iter().map(String::as_str));
        Started::new(&[("SOCKET2ME_LOG", "info")], &all).await
    }

    /// The listeners to which names lead.
    fn listeners(&self) -> [String; 2] {
        [format!("--listen={}", self.tls), format!("--http-listen={}", self.http)]
    }

    /// Returns the certificate that visitors of a name get. `None` if they are refused.
    async fn served(&self, name: &str) -> Option<Vec<u8>> {
        Client::of(&self.folder.join("issued.pem")).connect(self.tls, name).await.map(|connection| leaf(&connection))
    }

    /// Waits until visitors of a name get a certificate that is not `before`, and returns it.
    async fn certificate(&self, name: &str, before: Option<&[u8]>) -> Vec<u8> {
        let other = async || self.served(name).await.filter(|served| before != Some(served));
        until("a certificate", other).await
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap()
    }

    /// Returns how often Pebble has said this.
    fn said(&self, words: &str) -> usize {
        self.log().matches(words).count()
    }

    /// Fails unless each name was proved, and Pebble was told to look once for each.
    fn has_proved(&self, names: usize) {
        assert_eq!([LOOKS, VALID, INVALID].map(|words| self.said(words)), [names, names, 0]);
    }

    /// Writes a program that sets records in the DNS. Those that are there have a file each in `records`.
    fn dns_hook(&self) -> PathBuf {
        let (hook, files) = (self.folder.join("hook"), self.folder.join("records"));
        std::fs::create_dir_all(&files).unwrap();
        // The DNS cannot take away one value of several, so it takes away all once none is wanted.
        let script = format!(
            "#!/bin/sh\nset -e\ncd {}\ntell() {{ curl -sSf \"http://{}/$1\" -d \"$2\"; }}\ncase $1 in\n\
             present) : > \"./$3\"; tell set-txt \"{{\\\"host\\\":\\\"$2.\\\",\\\"value\\\":\\\"$3\\\"}}\" ;;\n\
             cleanup) rm \"./$3\"; [ -n \"$(ls)\" ] || tell clear-txt \"{{\\\"host\\\":\\\"$2.\\\"}}\" ;;\nesac\n",
            files.display(),
            self.records
        );
        std::fs::write(&hook, script).unwrap();
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o700)).unwrap();
        hook
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Finds free addresses of one host, which no other test uses.
fn addresses<const N: usize>() -> [SocketAddr; N] {
    let host = free_address().ip();
    let listeners = [(); N].map(|()| std::net::TcpListener::bind((host, 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}

/// Lets connections through to a server, also those that have waited. Pebble waits for 15 s.
async fn open(gate: TcpListener, server: SocketAddr) {
    while let Ok((mut connection, _)) = gate.accept().await {
        tokio::spawn(async move {
            let mut onward = TcpStream::connect(server).await?;
            tokio::io::copy_bidirectional(&mut connection, &mut onward).await
        });
    }
}

#[tokio::test]
async fn pebble_proves_two_names_on_port_80_at_once() {
    let Some(pebble) = Pebble::start(Rules::default()).await else { return };
    let mut server = pebble.serve("relay.example.com,www.example.com", &pebble.listeners()).await;
    server.logged(ISSUED).await;
    server.logged(ISSUED).await;
    let certificates = [pebble.certificate("relay.example.com", None), pebble.certificate("www.example.com", None)];
    let certificates = join_all(certificates).await;
    assert_ne!(certificates[0], certificates[1]);
    assert_eq!(pebble.served("other.example.com").await, None);
    pebble.has_proved(2);
}

#[tokio::test]
async fn pebble_proves_a_name_on_port_443_where_there_is_no_port_80() {
    let Some(pebble) = Pebble::start(Rules::default()).await else { return };
    let [tls, _] = pebble.listeners();
    let mut server = pebble.serve(NAME, &[tls]).await;
    server.logged(ISSUED).await;
    pebble.certificate(NAME, None).await;
    pebble.has_proved(1);
}

#[tokio::test]
async fn pebble_is_told_to_look_once_while_it_says_that_a_challenge_is_pending() {
    let Some(pebble) = Pebble::start(Rules::default()).await else { return };
    let (gate, [address]) = (TcpListener::bind(pebble.tls).await.unwrap(), addresses());
    let mut server = pebble.serve(NAME, &[format!("--listen={address}")]).await;
    let reads = || pebble.log().split_once(LOOKS).map_or(0, |(_, since)| since.matches(READ).count());
    until("Pebble to be asked again", async || (reads() > 2).then_some(())).await;
    tokio::spawn(open(gate, address));
    server.logged(ISSUED).await;
    pebble.has_proved(1);
}

#[tokio::test]
async fn pebble_proves_a_domain_and_all_hosts_below_it_in_dns_at_once() {
    let Some(pebble) = Pebble::start(Rules::default()).await else { return };
    let [tls, _] = pebble.listeners();
    let hook = format!("--acme-dns-hook={}", pebble.dns_hook().display());
    let mut server = pebble.serve("*.t.example.com,t.example.com", &[tls, hook]).await;
    server.logged(ISSUED).await;
    server.logged(ISSUED).await;
    pebble.certificate("app.t.example.com", None).await;
    pebble.certificate("t.example.com", None).await;
    pebble.has_proved(2);
    let records = || std::fs::read_dir(pebble.folder.join("records")).unwrap().count();
    until("the records to be taken away", async || (records() == 0).then_some(())).await;
}

/// Waits for a second certificate. Returns how often Pebble was told to look at the name.
async fn renewed(reuse: u32) -> Option<usize> {
    let pebble = Pebble::start(Rules { validity: 6, reuse }).await?;
    let mut server = pebble.serve(NAME, &pebble.listeners()).await;
    server.logged(ISSUED).await;
    let first = pebble.certificate(NAME, None).await;
    server.logged(ISSUED).await;
    pebble.certificate(NAME, Some(&first)).await;
    assert_eq!(pebble.said(INVALID), 0);
    Some(pebble.said(LOOKS))
}

#[tokio::test]
async fn a_certificate_of_pebble_is_renewed_whether_its_name_has_to_be_proved_again_or_not() {
    let (anew, reused) = tokio::join!(renewed(0), renewed(100));
    assert!(anew.is_none_or(|looks| looks > 1) && reused.is_none_or(|looks| looks == 1), "{anew:?} {reused:?}");
}

#[tokio::test]
async fn a_server_that_is_killed_while_pebble_looks_goes_on_with_the_same_order() {
    let Some(pebble) = Pebble::start(Rules::default()).await else { return };
    let (gate, [address]) = (TcpListener::bind(pebble.tls).await.unwrap(), addresses());
    let mut server = pebble.serve(NAME, &[format!("--listen={address}")]).await;
    until("Pebble to look", async || (pebble.said(LOOKS) > 0).then_some(())).await;
    server.child.kill().await.unwrap();
    let mut server = pebble.serve(NAME, &[format!("--listen={address}")]).await;
    tokio::spawn(open(gate, address));
    server.logged(ISSUED).await;
    pebble.certificate(NAME, None).await;
    assert_eq!([ORDERED, INVALID].map(|words| pebble.said(words)), [1, 0]);
}

#[tokio::test]
async fn a_name_that_pebble_cannot_prove_is_tried_by_each_challenge_once_and_the_log_says_what_to_do() {
    let Some(pebble) = Pebble::start(Rules::default()).await else { return };
    let [tls, http] = addresses();
    let elsewhere = [format!("--listen={tls}"), format!("--http-listen={http}")];
    let hook = [format!("--listen={tls}"), "--acme-dns-hook=/bin/true".to_owned()];
    for (name, arguments, advice, looks) in [
        ("relay.example.com", elsewhere, "let ports 80 and 443 of the name's addresses lead here", 2),
        ("www.example.com", hook, "the program has not set the record", 3),
    ] {
        let mut server = pebble.serve(name, &arguments).await;
        let mut told = String::new();
        while !told.contains("again=3600s") {
            told += &server.logged(FAILED).await;
        }
        assert!(told.contains(advice), "{told}");
        assert_eq!([LOOKS, INVALID, VALID].map(|words| pebble.said(words)), [looks, looks, 0], "{name}");
        server.child.kill().await.unwrap();
    }
}
