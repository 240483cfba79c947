//! What an end tells the person or the program that runs it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;

/// The code with which the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// It was asked to.
    Done = 0,
    /// Something has failed.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// The server refuses.
    Refused = 3,
    /// Another end has taken the tunnel over, or serves it already.
    TakenOver = 4,
    /// The server's certificate is not to be trusted.
    Certificate = 5,
    /// The local app did not answer within `--wait`.
    NoLocalApp = 7,
}

/// Why an end has stopped by itself: the exit code, what is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// A word for programs.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it; empty where nothing more is known.
    pub hint: String,
}

impl Failure {
    /// Makes a failure of its parts.
    #[must_use]
    pub fn new(exit: Exit, code: &str, message: impl Into<String>, hint: &str) -> Self {
        Self { exit, code: code.to_owned(), message: message.into(), hint: hint.to_owned() }
    }

    /// Makes the failure of a wrong setting.
    #[must_use]
    pub fn usage(message: String) -> Self {
        Self::new(Exit::Usage, "usage", message, "")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "\n{}", self.hint) }
    }
}

/// How an exchange has ended, as the end sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// The exchange's id.
    pub id: ByteString,
    /// The visitor's method.
    pub method: ByteString,
    /// The path and the query.
    pub target: String,
    /// The visitor's address.
    pub visitor: ByteString,
    /// The status of the response; `None` if there was none.
    pub status: Option<u16>,
    /// How long it took.
    pub took: Duration,
    /// Bytes of the response's body.
    pub bytes: u64,
    /// What went wrong, if something did.
    pub error: Option<String>,
}

/// What an end tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A tunnel that was kept is used again.
    Reused {
        /// The file that has it.
        file: String,
    },
    /// The tunnel is open: visitors reach the end.
    Ready {
        /// The URL for visitors.
        url: String,
        /// What requests are forwarded to.
        target: String,
        /// The URL differs from the one that was told before.
        has_changed: bool,
    },
    /// The connection is lost, and the end comes back after this time.
    Reconnecting {
        /// Why.
        why: String,
        /// The time until the next attempt.
        after: Duration,
    },
    /// The tunnel is open again, at the same URL.
    Reconnected,
    /// The server has said why the session is about to be left.
    Closing {
        /// The code of PROTOCOL.md, section 11.
        code: &'static str,
    },
    /// A request was served.
    Request(Served),
    /// Something that the person should know, and that ends nothing.
    Warning(String),
    /// The end stops by itself.
    Failed(Failure),
}

/// Where reports go.
pub type Reporter = Arc<dyn Fn(Report) + Send + Sync>;
