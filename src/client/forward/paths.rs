//! Which paths lead to files of a folder: none out of it, and none to what is hidden in it.

use std::fs;
use std::future::Future;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use tower_http::services::fs::{Backend, TokioBackend, TokioFile};

/// The one name with a dot in front that visitors may ask for (RFC 8615), and only as the first.
const WELL_KNOWN: &str = ".well-known";

/// Tells whether a path, which is not decoded, may be one of a file: each of its names is one name of a file after decoding, and
/// none is hidden.
pub(super) fn is_served(path: &str) -> bool {
    let Some(names) = path.strip_prefix('/') else { return false };
    names.split('/').enumerate().all(|(at, name)| {
        let decoded = percent_decode_str(name).decode_utf8();
        decoded.is_ok_and(|name| is_name(&name) && ((at == 0 && name == WELL_KNOWN) || !is_hidden(&name)))
    })
}

/// Tells whether a name is one on all systems, and not several. An empty one is between two slashes.
fn is_name(name: &str) -> bool {
    // On Windows a colon is behind a drive, and in front of a stream of a file.
    let is_special = |char: char| char.is_control() || matches!(char, '/' | '\\') || (cfg!(windows) && char == ':');
    !name.contains(is_special)
}

/// Tells whether a name begins with a dot, perhaps behind characters that HFS+ ignores in names.
fn is_hidden(name: &str) -> bool {
    let is_ignored =
        |char| matches!(char, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}');
    name.trim_start_matches(is_ignored).starts_with('.')
}

/// The file system below one folder: what a symbolic link leads to elsewhere is not there, and neither is what is no file or folder.
#[derive(Debug, Clone)]
pub(super) struct Inside {
    root: Arc<Path>,
}

impl Inside {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// Returns where a file or a folder is without symbolic links, and what it is.
    async fn resolve(self, path: PathBuf) -> io::Result<(PathBuf, fs::Metadata)> {
        let resolved = tokio::task::spawn_blocking(move || resolve(&self.root, &path));
        // The name is one that no file can have, or leads round in a circle.
        resolved.await.map_err(io::Error::other)?.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => error,
            _ => io::ErrorKind::NotFound.into(),
        })
    }
}

/// See [`Inside::resolve`]. The root is looked up each time: a build may have put a new folder into its place.
fn resolve(root: &Path, path: &Path) -> io::Result<(PathBuf, fs::Metadata)> {
    let found = fs::canonicalize(path)?;
    let root = fs::canonicalize(root)?;
    let within = found.strip_prefix(root).map_err(|_| io::ErrorKind::NotFound)?;
    // A hidden file has a second, short name there.
    if cfg!(windows) && has_hidden(within) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let metadata = fs::metadata(&found)?;
    // A pipe would wait for a writer.
    if metadata.is_file() || metadata.is_dir() { Ok((found, metadata)) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// Tells whether a path within the folder has a name that begins with a dot, other than the one that may.
fn has_hidden(within: &Path) -> bool {
    within.components().enumerate().any(|(at, component)| match component {
        Component::Normal(name) => name.as_encoded_bytes().starts_with(b".") && (at > 0 || name != WELL_KNOWN),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => true,
    })
}

impl Backend for Inside {
    type File = TokioFile;
    type Metadata = fs::Metadata;
    type OpenFuture = Pin<Box<dyn Future<Output = io::Result<TokioFile>> + Send>>;
    type MetadataFuture = Pin<Box<dyn Future<Output = io::Result<fs::Metadata>> + Send>>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        let resolving = self.clone().resolve(path);
        Box::pin(async move {
            let (path, metadata) = resolving.await?;
            if !metadata.is_file() {
                return Err(io::ErrorKind::NotFound.into());
            }
            TokioBackend.open(path).await
        })
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        let resolving = self.clone().resolve(path);
        Box::pin(async move { Ok(resolving.await?.1) })
    }
}
