//! The commands that serve a tunnel without an app, those that look at one, and those for operators, as their users start them;
//! and the server under a service manager.

#[cfg(unix)]
mod admin;
mod doctor;
mod dump;
mod folder;
mod operating;
mod respond;
mod scripts;
mod service;
mod up;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::support::within;

/// A folder that is removed at the end of its test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("socket2me-tools-{}-{count}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a file, and makes the folders above it.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A command in a folder of its own, which is also where its state is.
pub(crate) fn command(server: SocketAddr, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_socket2me"));
    set_place(&mut command, server, folder);
    command.args(arguments);
    command
}

/// Sets where a program runs, and what it finds there.
pub(crate) fn set_place(command: &mut Command, server: SocketAddr, folder: &Path) {
    command.env_clear().env("PATH", "/usr/bin:/bin").current_dir(folder);
    command.env("XDG_STATE_HOME", folder.join("state")).env("SOCKET2ME_SERVER", format!("http://{server}"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
}

/// Runs a command that ends by itself. Returns its exit code, its standard output and its standard error.
pub(crate) async fn output(server: SocketAddr, folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = within("the command to end", command(server, folder, arguments).output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A command that goes on.
pub(crate) struct Tool {
    child: Child,
    out: Option<Lines<BufReader<ChildStdout>>>,
    err: Lines<BufReader<ChildStderr>>,
}

impl Tool {
    pub(crate) fn start(server: SocketAddr, folder: &Path, arguments: &[&str]) -> Self {
        Self::of(command(server, folder, arguments))
    }

    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let out = Some(BufReader::new(child.stdout.take().unwrap()).lines());
        let err = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, out, err }
    }

    /// Closes standard output, as a reader does that has what it wants.
    pub(crate) fn close_output(&mut self) {
        self.out = None;
    }

    /// Returns the next line of standard output.
    pub(crate) async fn line(&mut self) -> String {
        match within("a line", self.out.as_mut().unwrap().next_line()).await.unwrap() {
            Some(line) => line,
            None => panic!("no line more: {:?}", self.err.next_line().await),
        }
    }

    /// Waits for a line of standard error with these words.
    pub(crate) async fn says(&mut self, words: &str) -> String {
        loop {
            let line = within(words, self.err.next_line()).await.unwrap();
            let line = line.unwrap_or_else(|| panic!("it has ended without {words:?}"));
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Returns the path of the tunnel's URL, which is the next line of standard output.
    pub(crate) async fn tunnel(&mut self) -> String {
        path_of(&self.line().await)
    }

    /// Ends the command at once, as a crash does.
    pub(crate) async fn kill(mut self) {
        within("the command to end", self.child.kill()).await.unwrap();
    }

    /// Waits until the command ends by itself, and returns its exit code.
    pub(crate) async fn ended(mut self) -> Option<i32> {
        within("the command to end", self.child.wait()).await.unwrap().code()
    }

    /// Sends the command a signal: `STOP`, `CONT`.
    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().await.unwrap().success());
    }

    /// Stops the command as Ctrl-C does.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        self.signal("INT").await;
        within("the command to end", self.child.wait()).await.unwrap()
    }
}

/// The path of a URL.
pub(crate) fn path_of(url: &str) -> String {
    let (_, rest) = url.split_once("://").unwrap();
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    path.trim_end_matches('/').to_owned()
}
