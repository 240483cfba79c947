//! Tunnels that are kept from run to run, one file each: token, key and URL, for their owner alone.
//!
//! ```text
//! $XDG_STATE_HOME/socket2me/tunnels/HASH.json   the tunnel, mode 0600
//! $XDG_STATE_HOME/socket2me/tunnels/HASH.lock   held while a program serves it
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::proto::key::Key;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 64 << 10;

/// What tells one tunnel of a person from another.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'i> {
    /// The server's URL.
    pub server: &'i str,
    /// What is forwarded to.
    pub target: &'i str,
    /// The name that was asked for.
    pub name: Option<&'i str>,
    /// The folder of the project, where the target is on this machine: two projects that use one port are two tunnels.
    pub folder: Option<&'i Path>,
}

impl Identity<'_> {
    /// Returns the name of the file: a hash of all parts, whose lengths keep them apart.
    fn hash(&self) -> String {
        let folder = self.folder.map(|folder| folder.as_os_str().as_encoded_bytes()).unwrap_or_default();
        let mut hash = Sha256::new();
        for part in [self.server.as_bytes(), self.target.as_bytes(), self.name.unwrap_or_default().as_bytes(), folder] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A tunnel as its file has it.
#[derive(Debug, Clone)]
pub struct Tunnel {
    /// The token.
    pub token: String,
    /// The key.
    pub key: Key,
    /// The URL that was printed.
    pub url: String,
}

/// The file's members. The last two are for the person who reads it.
#[derive(Serialize, Deserialize)]
struct Content {
    token: String,
    key: String,
    url: String,
    server: String,
    target: String,
}

/// The place of one tunnel, which no other program has while this value lives.
#[derive(Debug)]
pub struct Place {
    file: PathBuf,
    server: String,
    target: String,
    _lock: File,
}

/// Why there is no place.
#[derive(Debug)]
pub enum PlaceError {
    /// Another program serves this tunnel.
    InUse,
    /// No folder for it is known.
    NoFolder,
    /// The folder or a file cannot be used.
    Failed(PathBuf, io::Error),
}

impl std::fmt::Display for PlaceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InUse => f.write_str(
                "another program serves this tunnel already: stop it, or give this one a --name of its own, or --ephemeral",
            ),
            Self::NoFolder => f.write_str(
                "no folder for saved tunnels is known, because HOME and XDG_STATE_HOME are not set: set one, or use --ephemeral",
            ),
            Self::Failed(path, error) => write!(f, "{}: {error} (--ephemeral keeps nothing)", path.display()),
        }
    }
}

impl Place {
    /// Takes the place of a tunnel.
    ///
    /// # Errors
    /// When another program has it, and when the folder cannot be used.
    pub fn take(folder: Option<PathBuf>, identity: Identity<'_>) -> Result<Self, PlaceError> {
        let folder = folder.ok_or(PlaceError::NoFolder)?;
        make_private_folder(&folder).map_err(|error| PlaceError::Failed(folder.clone(), error))?;
        let hash = identity.hash();
        let lock_path = folder.join(format!("{hash}.lock"));
        let failed = |error| PlaceError::Failed(lock_path.clone(), error);
        let lock = private_file().truncate(false).create(true).open(&lock_path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => return Err(PlaceError::InUse),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let file = folder.join(format!("{hash}.json"));
        Ok(Self { file, server: identity.server.to_owned(), target: identity.target.to_owned(), _lock: lock })
    }

    /// Returns where the tunnel is kept.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Returns the tunnel that is kept here, if there is one.
    ///
    /// # Errors
    /// When the file cannot be read, or is not as this program writes it.
    pub fn load(&self) -> Result<Option<Tunnel>, String> {
        let Some(content) = read(&self.file)? else { return Ok(None) };
        let key = Key::parse(&content.key);
        let key = key.ok_or_else(|| format!("{}: its key is none; delete it for a new tunnel", self.file.display()))?;
        Ok(Some(Tunnel { token: content.token, key, url: content.url }))
    }

    /// Keeps a tunnel. The file is whole at any time.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, tunnel: &Tunnel) -> Result<(), String> {
        let content = Content {
            token: tunnel.token.clone(),
            key: tunnel.key.as_str().to_owned(),
            url: tunnel.url.clone(),
            server: self.server.clone(),
            target: self.target.clone(),
        };
        let text = serde_json::to_string_pretty(&content).map_err(|error| error.to_string())?;
        write_whole(&self.file, format!("{text}\n").as_bytes(), true)
            .map_err(|error| format!("{}: {error}", self.file.display()))
    }

    /// Forgets the tunnel that is kept here.
    pub fn forget(&self) {
        let _ = fs::remove_file(&self.file);
    }
}

/// Reads the file of a tunnel.
fn read(file: &Path) -> Result<Option<Content>, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}; delete it for a new tunnel", file.display());
    let text = match fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(&error)),
        Ok(found) if found.len() > MAX_FILE => return Err(wrong(&"it is too large")),
        Ok(_) => fs::read(file).map_err(|error| wrong(&error))?,
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| wrong(&error))
}

/// What is looked for among the tunnels that are kept.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'w> {
    /// The server's URL.
    pub server: &'w str,
    /// The name that was asked for.
    pub name: Option<&'w str>,
    /// What is forwarded to; `None` is anything.
    pub target: Option<&'w str>,
    /// The folder of the project.
    pub folder: Option<&'w Path>,
}

/// Returns target and URL of each tunnel that is wanted, sorted. It may be served meanwhile.
///
/// # Errors
/// When there is none, and a file cannot be read, or is not as this program writes it.
pub fn find(folder: &Path, wanted: &Wanted<'_>) -> Result<Vec<(String, String)>, String> {
    let files = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        files => files.map_err(|error| format!("{}: {error}", folder.display()))?,
    };
    let (mut found, mut damaged) = (Vec::new(), None);
    for file in
        files.filter_map(|file| Some(file.ok()?.path())).filter(|file| file.extension() == Some("json".as_ref()))
    {
        let Content { url, target, .. } = match read(&file) {
            Ok(Some(content)) => content,
            Ok(None) => continue,
            Err(why) => {
                damaged = Some(why);
                continue;
            }
        };
        let Wanted { server, name, folder, .. } = *wanted;
        // A target on another machine has no folder.
        let is_it = [folder, None].into_iter().any(|folder| {
            let identity = Identity { server, target: &target, name, folder };
            file.file_stem() == Some(identity.hash().as_ref())
        });
        if is_it && wanted.target.is_none_or(|wanted| wanted == target) {
            found.push((target, url));
        }
    }
    found.sort_unstable();
    damaged.filter(|_| found.is_empty()).map_or(Ok(found), Err)
}

/// Writes a file so that a reader finds all of it or what was there before.
///
/// # Errors
/// When the file cannot be written.
pub fn write_whole(path: &Path, content: &[u8], is_private: bool) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let beside = path.with_file_name(name);
    let mut options = if is_private { private_file() } else { OpenOptions::new() };
    let written = options.write(true).create(true).truncate(true).open(&beside).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    let moved = written.and_then(|()| fs::rename(&beside, path));
    if moved.is_err() {
        let _ = fs::remove_file(&beside);
    }
    moved
}

/// Makes a folder that its owner alone may enter.
fn make_private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    // It may have been made by another program.
    #[cfg(unix)]
    fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(())
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Identity<'static> =
        Identity { server: "https://relay.example", target: "http://localhost:5173", name: None, folder: None };

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("socket2me-saved-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn a_tunnel_is_found_again_by_what_it_is_for() {
        let folder = folder("found");
        let tunnel = Tunnel {
            token: "t".to_owned(),
            key: Key::from_random([7; 32]),
            url: "https://relay.example/go/t".to_owned(),
        };
        let place = Place::take(Some(folder.clone()), IDENTITY).unwrap();
        assert!(place.load().unwrap().is_none());
        place.save(&tunnel).unwrap();
        let found = place.load().unwrap().unwrap();
        assert_eq!((found.token, found.key, found.url), (tunnel.token, tunnel.key, tunnel.url));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(place.file()).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        }
        for other in [
            Identity { server: "https://other.example", ..IDENTITY },
            Identity { target: "http://localhost:3000", ..IDENTITY },
            Identity { name: Some("app"), ..IDENTITY },
            Identity { folder: Some(Path::new("/project")), ..IDENTITY },
        ] {
            assert!(Place::take(Some(folder.clone()), other).unwrap().load().unwrap().is_none(), "{other:?}");
        }
        place.forget();
        assert!(place.load().unwrap().is_none());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn tunnels_are_found_by_what_they_are_for() {
        let folder = folder("find");
        assert!(find(&folder, &Wanted { server: "", name: None, target: None, folder: None }).unwrap().is_empty());
        let (project, server) = (Some(Path::new("/project")), "https://relay.example");
        for (target, name, folder_of, url) in [
            ("http://localhost:1", None, project, "one"),
            ("http://localhost:2", None, project, "two"),
            ("http://localhost:1", Some("app"), project, "app"),
            ("http://localhost:1", None, Some(Path::new("/other")), "other"),
            ("http://app.test:1", Some("far"), None, "far"),
        ] {
            let place =
                Place::take(Some(folder.clone()), Identity { server, target, name, folder: folder_of }).unwrap();
            place.save(&Tunnel { token: "t".to_owned(), key: Key::from_random([7; 32]), url: url.to_owned() }).unwrap();
        }
        let urls = |server, name, target| {
            let found = find(&folder, &Wanted { server, name, target, folder: project }).unwrap();
            found.into_iter().map(|(_, url)| url).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(urls(server, None, None), "one two");
        assert_eq!(urls(server, None, Some("http://localhost:2")), "two");
        assert_eq!(urls(server, None, Some("http://localhost:3")), "");
        assert_eq!(urls(server, Some("app"), None), "app");
        assert_eq!(urls(server, Some("far"), Some("http://app.test:1")), "far");
        assert_eq!(urls("https://other.example", None, None), "");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_place_belongs_to_one_program_at_a_time() {
        let folder = folder("one");
        let place = Place::take(Some(folder.clone()), IDENTITY).unwrap();
        assert!(matches!(Place::take(Some(folder.clone()), IDENTITY), Err(PlaceError::InUse)));
        drop(place);
        assert!(Place::take(Some(folder.clone()), IDENTITY).is_ok());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_is_damaged_is_named() {
        let folder = folder("damaged");
        let place = Place::take(Some(folder.clone()), IDENTITY).unwrap();
        for content in
            ["", "{}", r#"{"token":"t","key":"s2m_x","url":"","server":"","target":""}"#, &" ".repeat(70_000)]
        {
            fs::write(place.file(), content).unwrap();
            let why = place.load().unwrap_err();
            assert!(why.contains(".json: ") && why.ends_with("delete it for a new tunnel"), "{why}");
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
