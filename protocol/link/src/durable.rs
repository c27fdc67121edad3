//! Files that are whole or not there, whenever the program is killed or the power fails: written
//! beside their place, flushed to the disk, and moved there in one step.

use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::Path;
use tempfile::{Builder, NamedTempFile};

/// Writes a file that isn't there yet, readable as `mode` says from its first byte on.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if it is there; it is never overwritten.
pub fn write_new(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    beside(path, text, mode)?.persist_noclobber(path).map_err(|failed| failed.error)?;
    sync_folder(folder(path))
}

/// Writes a file in place of what is there, if anything. It stays its owner's, where root does it:
/// who looks after a service's files leaves them to the service.
///
/// # Errors
/// What the system says; what was there is still whole.
pub fn replace(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let file = beside(path, text, mode)?;
    if let Ok(old) = path.symlink_metadata() {
        // Nobody else may give files away, nor need to.
        let _ = fchown(file.as_file(), Some(old.uid()), Some(old.gid()));
    }
    file.persist(path).map_err(|failed| failed.error)?;
    sync_folder(folder(path))
}

/// Makes sure that what was made, moved or removed in a folder outlives a power failure.
///
/// # Errors
/// What the system says.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The folder in which a path lies.
pub fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn beside(path: &Path, text: &[u8], mode: u32) -> io::Result<NamedTempFile> {
    let mut file = Builder::new()
        .prefix(".canister-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder(path))
        // tempfile's own error names a file that nobody has heard of.
        .map_err(|cause| cause.kind())?;
    file.write_all(text)?;
    file.as_file().sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_new_file_replaces_nothing_and_a_replaced_one_everything() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write_new(&path, b"one", 0o600).unwrap();
        let again = write_new(&path, b"two", 0o600).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        replace(&path, b"three", 0o640).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        // Nothing else is left in the folder.
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_replaced_file_stays_its_owners() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write_new(&path, b"one", 0o600).unwrap();
        // Nobody's, if we may; else our own, which it stays as well.
        let given = std::os::unix::fs::chown(&path, Some(65534), Some(65534));
        let before = fs::metadata(&path).unwrap();
        assert_eq!(given.is_ok(), before.uid() == 65534);
        replace(&path, b"two", 0o600).unwrap();
        let after = fs::metadata(&path).unwrap();
        assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
        assert_eq!(fs::read(&path).unwrap(), b"two");
    }

    #[test]
    fn a_folder_that_is_not_there_is_said_to_be_missing() {
        let dir = tempfile::tempdir().unwrap();
        let cause = write_new(&dir.path().join("no/file"), b"", 0o600).unwrap_err();
        assert_eq!(cause.kind(), io::ErrorKind::NotFound);
        assert!(!cause.to_string().contains(".canister-"), "{cause}");
    }
}
