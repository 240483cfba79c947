//! A pseudo-terminal, and the program in it.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};

use crate::starting::program;
use crate::support::{PATIENCE, within};

/// A pseudo-terminal.
pub(super) struct Terminal {
    keyboard: File,
    /// tokio reads the other side of a terminal as it reads a pipe.
    screen: Receiver,
    /// Kept open, so that the terminal outlives its programs.
    secondary: OwnedFd,
    before: Termios,
    /// What was shown and not yet looked at.
    shown: String,
    /// All that was ever shown.
    pub(super) all: String,
}

impl Terminal {
    pub(super) fn open() -> Self {
        let primary = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        unlockpt(&primary).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let secondary = rustix::fs::open(ptsname(&primary, Vec::new()).unwrap(), flags, Mode::empty()).unwrap();
        rustix::io::ioctl_fionbio(&primary, true).unwrap();
        let before = tcgetattr(&secondary).unwrap();
        let screen = Receiver::from_owned_fd_unchecked(primary.try_clone().unwrap()).unwrap();
        let terminal =
            Self { keyboard: primary.into(), screen, secondary, before, shown: String::new(), all: String::new() };
        terminal.resize(100);
        terminal
    }

    /// Returns the terminal as a standard stream of a program.
    pub(super) fn stdio(&self) -> Stdio {
        self.secondary.try_clone().unwrap().into()
    }

    /// Returns a command in a session of its own, which the terminal controls. Standard input has to be the terminal.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program("setsid", &[("TERM", "xterm")], &[&["--ctty"], arguments].concat());
        command.stdin(self.stdio()).stdout(self.stdio()).stderr(self.stdio());
        command
    }

    /// Makes the window this wide.
    pub(super) fn resize(&self, columns: u16) {
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.keyboard, size).unwrap();
    }

    /// Types keys.
    pub(super) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until these words are shown, and returns all in front of them.
    pub(super) async fn until(&mut self, words: &str) -> String {
        loop {
            if let Some((before, behind)) = self.shown.split_once(words) {
                let (before, behind) = (before.to_owned(), behind.to_owned());
                self.shown = behind;
                return before;
            }
            self.read(words).await;
        }
    }

    /// Waits for more to be shown.
    async fn read(&mut self, why: &str) {
        let mut bytes = [0; 4096];
        let read = tokio::time::timeout(PATIENCE, self.screen.read(&mut bytes)).await;
        let count = read.unwrap_or_else(|_| panic!("waited in vain for {why:?} in {:?}", self.shown)).unwrap();
        let text = String::from_utf8_lossy(&bytes[..count]);
        self.shown.push_str(&text);
        self.all.push_str(&text);
    }

    /// Whether keys come one by one and are not shown.
    pub(super) fn has_keys(&self) -> bool {
        !self.mode().local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO)
    }

    fn mode(&self) -> Termios {
        tcgetattr(&self.secondary).unwrap()
    }

    /// Waits until a program has ended, and returns its code. The terminal must be as it was before, without a status line.
    pub(super) async fn ended(&mut self, mut child: Child) -> Option<i32> {
        let status = within("the program to end", child.wait()).await.unwrap();
        let mode = self.mode();
        assert_eq!(mode.local_modes, self.before.local_modes);
        assert_eq!(mode.input_modes, self.before.input_modes);
        assert_eq!(mode.output_modes, self.before.output_modes);
        // What a program writes last arrives after its end.
        while self.all.rsplit("\x1b[J").next().unwrap().contains(" open") {
            self.read("the status line to be removed").await;
        }
        status.code()
    }
}
