//! The file on the system: its folder, its permissions, its lock. All of this blocks.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;

use super::disk::Disk;
use super::error::{FileError, Why};
use super::keeper::{Content, Keeper};

/// Opens a file for reading and writing, and reads it. Makes it, and its folder, if there is none: for this user alone.
pub(super) fn open_or_create(path: &Path) -> Result<(Keeper, Content), FileError> {
    let opened = || {
        let file = match open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(path)?;
                open(path)?
            }
            file => file?,
        };
        Keeper::open(disk(file)?)
    };
    opened().map_err(|why| FileError::new(path, why))
}

/// Reads a file that must exist, and writes nothing.
pub(super) fn read(path: &Path) -> Result<Content, FileError> {
    let read = || Keeper::read(&disk(open(path)?)?);
    read().map_err(|why| FileError::new(path, why))
}

/// Locks a file, and returns its bytes.
fn disk(file: File) -> Result<Disk, Why> {
    Ok(Disk::new(Arc::new(FileBackend::new(file)?)))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Makes a file with an empty store. It gets its name once it is whole: a power cut leaves no half of one.
fn create(path: &Path) -> Result<(), Why> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_folder(folder)?;
    let unfinished = unfinished(path);
    // A process of the same id has left it.
    let _ = fs::remove_file(&unfinished);
    let made = write_empty(&unfinished).and_then(|()| name(&unfinished, path).map_err(Why::from));
    let _ = fs::remove_file(&unfinished);
    made?;
    // The name itself is durable once the folder is. Some systems cannot do this, and do not need it.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

/// Returns the name of the file while it is made.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    path.with_file_name(name)
}

fn write_empty(path: &Path) -> Result<(), Why> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let (keeper, _) = Keeper::open(disk(options.open(path)?)?)?;
    keeper.close()
}

/// Gives a file its name, unless another process has made one of that name meanwhile.
fn name(unfinished: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(unfinished, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => fs::rename(unfinished, path),
        _ => Ok(()),
    }
}

/// Makes a folder, and those above it that there are not.
fn create_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}
