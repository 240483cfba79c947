//! The server under test: the real binary with short times and low limits, and what can be observed of it from outside.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, Result, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::access::AccessLog;
use crate::wire::{self, Connection, Route, strange};

/// Times so short that each timeout happens many times a minute. A token lives longer than most ends do.
const SETTINGS: &[&str] = &[
    "--response-timeout=1s",
    "--ping-interval=2s",
    "--ping-timeout=2s",
    "--upgrade-timeout=2s",
    "--connect-timeout=3s",
    "--head-timeout=5s",
    "--stall-timeout=3s",
    "--token-ttl=12s",
    "--max-body=1MiB",
    "--max-stream-body=1200KiB",
    "--max-buffered=32MiB",
    "--max-exchanges-per-tunnel=8",
    // The crowd's addresses reach these limits now and then; the witnesses have an address of their own.
    "--max-connections-per-address=300",
    "--max-sessions-per-address=200",
    "--log=warn,socket2me::access=info",
    "--log-format=json",
];

/// How long the server may take to stop.
const STOPPING: Duration = Duration::from_secs(20);

pub struct Server {
    child: Child,
    id: u32,
    stdout: BufReader<ChildStdout>,
    counts_heap: bool,
    pub address: SocketAddr,
    pub metrics: SocketAddr,
    pub log: PathBuf,
    /// Reads the log as long as the server writes.
    reader: Option<JoinHandle<Result<AccessLog>>>,
}

impl Server {
    /// Starts the binary that `SOCKET2ME_BIN` names.
    pub async fn start() -> Result<Self> {
        let binary = std::env::var_os("SOCKET2ME_BIN").unwrap_or_else(|| "target/release/socket2me".into());
        // Another program could take the port in between; then the server fails to start, and so does this.
        let metrics = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let log = std::env::temp_dir().join(format!("socket2me-soak-{}.log", std::process::id()));
        let (read, written) = std::io::pipe()?;
        let file = File::create(&log)?;
        let reader = std::thread::spawn(move || read_log(std::io::BufReader::new(read), file));
        let mut child = Command::new(binary)
            .args(["serve", "--listen=127.0.0.1:0", "--store=memory", &format!("--metrics-listen={metrics}")])
            .args(SETTINGS)
            .stdout(Stdio::piped())
            .stderr(written)
            .kill_on_drop(true)
            .spawn()?;
        let id = child.id().ok_or_else(|| strange("the server is gone"))?;
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().ok_or_else(|| strange("no standard output"))?);
        stdout.read_line(&mut line).await?;
        let address = line.split_once("http://").and_then(|(_, rest)| rest.split([' ', '"']).next()?.parse().ok());
        let address = address.ok_or_else(|| strange("the server does not say where it is"))?;
        let counts_heap = line.contains("counts its heap");
        Ok(Self { child, id, stdout, counts_heap, address, metrics, log, reader: Some(reader) })
    }

    /// Returns the access log of a server that has stopped.
    pub async fn access_log(&mut self) -> Result<AccessLog> {
        let reader = self.reader.take().ok_or_else(|| strange("the log was read before"))?;
        let read = tokio::task::spawn_blocking(move || reader.join()).await?;
        read.map_err(|_| strange("the thread that reads the log has panicked"))?
    }

    pub async fn figures(&self) -> Result<Figures> {
        let route = Route { from: Ipv4Addr::LOCALHOST, to: self.metrics };
        let request = wire::request("GET", "/metrics", &["Connection: close"], None);
        let answer =
            timeout(Duration::from_secs(5), async { Connection::open(route, None).await?.ask(&request).await });
        let answer = answer.await.map_err(|_| strange("/metrics does not answer"))??;
        let figure = |line: &str| {
            let (name, value) = line.strip_prefix("socket2me_")?.split_once(' ')?;
            Some((name.replace(['}', '"'], "").replace('{', " "), value.parse().ok()?))
        };
        Ok(Figures { by_name: answer.text().lines().filter_map(figure).collect(), descriptors: self.descriptors() })
    }

    fn descriptors(&self) -> u64 {
        fs::read_dir(format!("/proc/{}/fd", self.id)).map_or(0, |files| files.count() as u64)
    }

    /// Returns the resident memory in MiB: now, and its peak.
    pub fn memory(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id)).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? >> 10)
        };
        (field("VmRSS:").unwrap_or_default(), field("VmHWM:").unwrap_or_default())
    }

    /// Returns the live bytes of the server's heap, in KiB, if its allocator counts them (`scripts/soak --heap`).
    pub async fn heap(&mut self) -> Result<Option<u64>> {
        if !self.counts_heap {
            return Ok(None);
        }
        self.signal("-USR1").await?;
        let mut line = String::new();
        self.stdout.read_line(&mut line).await?;
        let bytes: u64 = line.trim().parse().map_err(|_| strange("the server does not say how large its heap is"))?;
        Ok(Some(bytes >> 10))
    }

    async fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill").args([name, &self.id.to_string()]).status().await?;
        if status.success() { Ok(()) } else { Err(strange("the server is gone")) }
    }

    /// Returns the lines of the log that report a panic.
    pub fn panics(&self) -> Vec<String> {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        log.lines().filter(|line| line.contains("panicked")).map(str::to_owned).collect()
    }

    /// Asks the server to stop. Returns whether it ended in time and with success.
    pub async fn stop(&mut self) -> bool {
        let asked = self.signal("-TERM").await;
        let ended = timeout(STOPPING, self.child.wait()).await;
        asked.is_ok() && matches!(ended, Ok(Ok(status)) if status.success())
    }
}

/// Reads the server's log to its end. What is no line of the access log goes to the file.
fn read_log(log: impl BufRead, mut file: File) -> Result<AccessLog> {
    let mut access_log = AccessLog::default();
    for line in log.lines() {
        let line = line?;
        if !access_log.take(&line) {
            writeln!(file, "{line}")?;
        }
    }
    Ok(access_log)
}

/// The server's figures at one moment.
#[derive(Debug, Clone)]
pub struct Figures {
    by_name: BTreeMap<String, u64>,
    pub descriptors: u64,
}

impl Figures {
    pub fn of(&self, name: &str) -> u64 {
        self.by_name.get(name).copied().unwrap_or_default()
    }

    pub fn in_use(&self, budget: &str) -> u64 {
        self.of(&format!("in_use budget={budget}"))
    }

    pub fn begun(&self) -> u64 {
        self.of("exchanges_begun_total")
    }

    /// Returns how many exchanges had each outcome.
    pub fn outcomes(&self) -> impl Iterator<Item = (&str, u64)> {
        self.with_prefix("exchanges_total outcome=")
    }

    /// Returns how often the limit of each flag was hit.
    pub fn limit_hits(&self) -> impl Iterator<Item = (&str, u64)> {
        self.with_prefix("limit_hits_total limit=")
    }

    fn with_prefix(&self, prefix: &'static str) -> impl Iterator<Item = (&str, u64)> {
        self.by_name.iter().filter_map(move |(name, &value)| Some((name.strip_prefix(prefix)?, value)))
    }

    pub fn ended(&self) -> u64 {
        self.outcomes().map(|(_, count)| count).sum()
    }

    /// Returns, by name, each figure that must return to its value from the start.
    pub fn gauges(&self) -> [(&'static str, u64); 11] {
        [
            ("connections", self.in_use("connections")),
            ("sessions", self.in_use("sessions")),
            ("tunnels", self.of("connected_tunnels")),
            ("tokens", self.of("tokens")),
            ("exchanges", self.in_use("exchanges")),
            ("uploads", self.in_use("uploads")),
            ("lingering", self.in_use("lingering")),
            ("exchanges in flight", self.begun().saturating_sub(self.ended())),
            ("bytes", self.in_use("bytes")),
            ("tasks", self.of("tasks")),
            ("file descriptors", self.descriptors),
        ]
    }

    pub fn is_back_at(&self, start: &Self) -> bool {
        self.gauges().iter().zip(start.gauges()).all(|((_, now), (_, then))| *now <= then)
    }
}
