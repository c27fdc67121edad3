//! Unix sockets by which a program is asked from its own machine: by its owner, by the operator. Who may
//! use one is decided by its file permissions, which it has from its first moment on.

use crate::durable::folder;
use std::fs::{Permissions, rename, set_permissions, symlink_metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use tempfile::Builder;

/// Listens at `path`, in place of what a program left there that was killed.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] where another program answers there, [`io::ErrorKind::AlreadyExists`]
/// where something else is; else what the system says.
pub fn listen(path: &Path, mode: u32) -> io::Result<UnixListener> {
    match symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(_) if UnixStream::connect(path).is_ok() => return Err(io::ErrorKind::AddrInUse.into()),
        _ => {}
    }
    // Nobody else can reach it before its permissions are right.
    let apart = Builder::new().prefix(".").rand_bytes(4).tempdir_in(folder(path));
    let apart = apart.map_err(|cause| io::Error::from(cause.kind()))?;
    let socket = apart.path().join("s");
    let listener = UnixListener::bind(&socket)?;
    set_permissions(&socket, Permissions::from_mode(mode))?;
    rename(&socket, path)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_socket_replaces_a_dead_one_and_no_live_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let first = listen(&path, 0o600).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(listen(&path, 0o600).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        let second = listen(&path, 0o660).unwrap();
        UnixStream::connect(&path).unwrap();
        second.accept().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        // Nothing else is left in the folder.
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(listen(&file, 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let cause = listen(&dir.path().join("no/socket"), 0o600).unwrap_err();
        assert_eq!(cause.kind(), io::ErrorKind::NotFound);
    }
}
