//! A `redis-server` of a test's own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use ::redis::{Connection, FromRedisValue};

use super::{tool, until};

/// A process that ends with the test.
pub(crate) struct Redis {
    process: Child,
    program: PathBuf,
    folder: PathBuf,
    pub(super) port: u16,
}

impl Redis {
    /// Starts a server that keeps all it has answered. `None` where there is none to start, and that may be.
    pub(crate) async fn start() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let program = tool::find("redis-server", "SOCKET2ME_REDIS", "scripts/redis", "redis/redis-server")?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("socket2me-redis-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        loop {
            let port = free_port();
            let process = run(&program, &folder, port, &[]);
            let mut redis = Self { process, program: program.clone(), folder: folder.clone(), port };
            // Another program may have taken the port meanwhile.
            if redis.is_ready().await {
                return Some(redis);
            }
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Waits until it answers. Returns false if it has ended instead.
    async fn is_ready(&mut self) -> bool {
        until("redis-server to start", async || {
            let has_ended = self.process.try_wait().unwrap().is_some();
            // One with a password says that it wants it.
            let answers = || match ::redis::cmd("PING").query::<String>(&mut self.connection()?) {
                Ok(_) => Some(()),
                Err(error) => error.to_string().contains("NOAUTH").then_some(()),
            };
            if has_ended { Some(false) } else { answers().map(|()| true) }
        })
        .await
    }

    fn connection(&self) -> Option<Connection> {
        ::redis::Client::open(self.url()).unwrap().get_connection().ok()
    }

    /// Asks it something, over a connection of its own.
    pub(crate) fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = ::redis::cmd(words[0]);
        command
            .arg(&words[1..])
            .query(&mut self.connection().unwrap())
            .unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, name: &str) {
        let kill = Command::new("kill").args([name, &self.process.id().to_string()]).status().unwrap();
        assert!(kill.success());
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again at its port, with more arguments than before.
    pub(super) async fn restart(&mut self, arguments: &[&str]) {
        assert!(self.try_restart(arguments).await, "redis-server does not start again");
    }

    /// Starts it again on a second port, for TLS. Returns that port.
    pub(super) async fn restart_with_tls(&mut self, arguments: &[&str]) -> u16 {
        loop {
            let port = free_port();
            if self.try_restart(&[&["--tls-port", port.to_string().as_str()], arguments].concat()).await {
                return port;
            }
        }
    }

    async fn try_restart(&mut self, arguments: &[&str]) -> bool {
        self.process = run(&self.program, &self.folder, self.port, arguments);
        self.is_ready().await
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Deletes all that it has on the disk.
    pub(super) fn delete_data(&self) {
        std::fs::remove_dir_all(&self.folder).unwrap();
        std::fs::create_dir_all(&self.folder).unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Returns a port that another program may take before it is used.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn run(program: &Path, folder: &Path, port: u16, arguments: &[&str]) -> Child {
    let mut command = Command::new(program);
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--dir"]).arg(folder);
    command.args(["--appendonly", "yes", "--appendfsync", "always"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
}
