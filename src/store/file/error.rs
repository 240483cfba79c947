//! Why a file cannot be a store.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The version of redb's own form of files that this program writes.
const REDB_FORMAT: u8 = 3;

/// Why a file cannot be used as a store. Nothing was written to it.
#[derive(Debug)]
pub struct FileError {
    path: PathBuf,
    why: Why,
}

/// Why some bytes cannot be used as a store.
#[derive(Debug)]
pub(super) enum Why {
    /// Another process has them open.
    Locked,
    /// The system refuses to open, read or write them.
    Io(io::Error),
    /// They are not a store of this program.
    Foreign,
    /// A newer version of this program has written them.
    Newer(u64),
    /// They are not as they were written; the text says what is wrong.
    Damaged(String),
}

impl FileError {
    pub(super) fn new(path: &Path, why: Why) -> Self {
        Self { path: path.to_owned(), why }
    }

    /// Tells whether another process has the file open.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        matches!(self.why, Why::Locked)
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.why {
            Why::Locked => write!(f, "another process has {path} open: stop that server, or name another file"),
            Why::Io(error) if error.kind() == io::ErrorKind::NotFound => {
                write!(f, "there is no {path}: the log of a server says at its start where it keeps its tunnels")
            }
            Why::Io(error) => {
                write!(f, "cannot use {path}: {error}; make its folder writable for this user, or name another file")
            }
            why @ (Why::Foreign | Why::Newer(_) | Why::Damaged(_)) => write!(f, "{path} {why}. It is left as it is"),
        }
    }
}

impl std::error::Error for FileError {}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked => f.write_str("is open in another process"),
            Self::Io(error) => error.fmt(f),
            Self::Foreign => f.write_str("is not a file of Socket2Me's tunnels: name another file"),
            Self::Newer(format) => write!(
                f,
                "was written by a newer version of Socket2Me, in format {format}: start that version, or move tunnels from there \
                 to here with `socket2me store export` and `import`"
            ),
            Self::Damaged(what) => {
                write!(f, "is damaged ({what}): restore a copy of it, or move it away to begin without tunnels")
            }
        }
    }
}

impl From<io::Error> for Why {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // What redb says of a file that does not begin as its files do.
            io::ErrorKind::InvalidData => Self::Foreign,
            io::ErrorKind::UnexpectedEof => Self::Damaged("it is shorter than it says".to_owned()),
            _ => Self::Io(error),
        }
    }
}

impl From<redb::Error> for Why {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::Locked,
            redb::Error::Io(error) => error.into(),
            redb::Error::UpgradeRequired(format) if format > REDB_FORMAT => Self::Newer(format.into()),
            redb::Error::UpgradeRequired(_) => Self::Foreign,
            // A table of our name with other types in it.
            redb::Error::TableTypeMismatch { .. } | redb::Error::TableIsMultimap(_) => Self::Foreign,
            error => Self::Damaged(error.to_string()),
        }
    }
}

/// The errors of redb's parts, each of which becomes the one of the whole.
macro_rules! from_parts {
    ($($part:ident),*) => {
        $(impl From<redb::$part> for Why {
            fn from(error: redb::$part) -> Self {
                redb::Error::from(error).into()
            }
        })*
    };
}

from_parts!(DatabaseError, StorageError, TableError, TransactionError, CommitError);
