//! What is done to a file that no server has open. All of this blocks.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use super::clock::Clock;
use super::error::FileError;
use super::keeper::Entry;
use super::open;
use crate::proto::token::Token;
use crate::store::record::Kept;

/// What was added to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Added {
    /// Tunnels that were not there before.
    pub new: usize,
    /// Tunnels that were there already, and stay as they are.
    pub same: usize,
    /// Tunnels that have expired, and are left out.
    pub expired: usize,
}

/// Why nothing was added to a store.
#[derive(Debug)]
pub enum AddError {
    /// The file cannot be used.
    File(FileError),
    /// These tunnels are there already, and are others.
    Taken(Vec<Token>),
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Taken(tokens) => {
                let shown: Vec<_> = tokens.iter().take(3).map(Token::as_str).collect();
                let more = if tokens.len() > shown.len() { ", …" } else { "" };
                write!(
                    f,
                    "nothing was imported: {} of the tunnels exist there with another key or other settings ({}{more}): take \
                     their lines out",
                    tokens.len(),
                    shown.join(", ")
                )
            }
        }
    }
}

impl std::error::Error for AddError {}

impl From<FileError> for AddError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

/// Reads the tunnels in a file, those of which only the name is claimed included, and writes nothing.
///
/// # Errors
/// When there is no such file, and when it cannot be used.
pub fn read_file(path: &Path) -> Result<Vec<Kept>, FileError> {
    Ok(open::read(path)?.tunnels)
}

/// Adds tunnels to a file, all or none, and makes the file if there is none. Tunnels that have expired, and whose name is not
/// claimed, are left out. One that is there already must be the same, whenever it expires, and stays as it is.
///
/// # Errors
/// - [`AddError::File`] when the file cannot be used
/// - [`AddError::Taken`] when one of the tunnels is there already and is another
pub fn add_to_file(path: &Path, tunnels: Vec<Kept>) -> Result<Added, AddError> {
    let (mut keeper, content) = open::open_or_create(path)?;
    let now = Clock::now().wall;
    let mut there: HashMap<_, _> = content.tunnels.into_iter().map(|kept| (kept.token, kept)).collect();
    there.retain(|_, kept| kept.forgotten() > now);
    let (mut added, mut taken, mut entries) = (Added { new: 0, same: 0, expired: 0 }, Vec::new(), Vec::new());
    for kept in tunnels {
        match there.get(&kept.token) {
            Some(other) if other.record == kept.record => added.same += 1,
            Some(_) => taken.push(kept.token),
            None if kept.forgotten() <= now => added.expired += 1,
            None => {
                added.new += 1;
                there.insert(kept.token, kept.clone());
                entries.push(Entry::Put(kept));
            }
        }
    }
    let written = if taken.is_empty() { keeper.write(&entries, now) } else { Ok(()) };
    let closed = keeper.close();
    written.and(closed).map_err(|why| FileError::new(path, why))?;
    if taken.is_empty() { Ok(added) } else { Err(AddError::Taken(taken)) }
}
