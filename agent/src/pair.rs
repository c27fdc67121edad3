//! A certificate and its key on disk, two files that change as one.
//!
//! Two files can't be replaced in one step, but one link can. So the first replacement turns both
//! into links through a third, which is what moves from then on:
//!
//! ```text
//! peer.crt ─▶ peer.crt.pairs/current/certificate        peer.crt.pairs/current ─▶ 7
//! peer.key ─▶ peer.crt.pairs/current/key                peer.crt.pairs/7/{certificate,key}
//! ```
//!
//! Whoever reads at any moment, or after a kill or a power failure at any moment, finds a pair: the
//! links are put in place one after the other while both lead to what was there before, and then
//! `current` moves in one step.

use canister_link::durable::{self, folder, sync_folder};
use canister_link::identity::Files;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

const CURRENT: &str = "current";
const CERTIFICATE: &str = "certificate";
const KEY: &str = "key";
/// Where a link is made before it is moved into its place.
const NEW_LINK: &str = ".canister-link";
/// Largest certificate or key that is kept, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The places of a pair.
#[derive(Debug, Clone)]
pub struct PairOnDisk {
    certificate: PathBuf,
    key: PathBuf,
    /// `peer.crt.pairs`, beside the certificate.
    home: PathBuf,
}

impl PairOnDisk {
    /// The pair of these files, which must be there and match, made ready to be replaced. Shows
    /// whether it can be: whether their folders may be written to.
    ///
    /// # Errors
    /// What the system says; the files are a pair still.
    pub fn prepare(files: &Files) -> io::Result<Self> {
        let pair = Self::of(files)?;
        if pair.is_prepared() {
            // Whether it may be written to still.
            drop(tempfile::tempfile_in(&pair.home)?);
            return Ok(pair);
        }
        let read = |path: &Path| {
            use io::Read as _;
            let mut bytes = Vec::new();
            fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
            Ok::<_, io::Error>(bytes)
        };
        let (certificate, key) = (read(&pair.certificate)?, read(&pair.key)?);
        let mut made = fs::DirBuilder::new();
        made.recursive(true).mode(0o700).create(&pair.home)?;
        pair.put(&certificate, &key)?;
        link(&pair.certificate, &pair.target(&pair.certificate, CERTIFICATE))?;
        link(&pair.key, &pair.target(&pair.key, KEY))?;
        Ok(pair)
    }

    /// Replaces both, as one.
    ///
    /// # Errors
    /// What the system says; the files are a pair still, the old or the new one.
    pub fn replace(&self, certificate: &[u8], key: &[u8]) -> io::Result<()> {
        self.put(certificate, key)
    }

    fn of(files: &Files) -> io::Result<Self> {
        // A link of the volunteer's own is followed; one of ours is the place itself.
        let place = |path: &Path| {
            let target = fs::read_link(path).unwrap_or_default();
            let is_ours = target.parent().is_some_and(|it| it.ends_with(CURRENT));
            if is_ours {
                Ok(fs::canonicalize(folder(path))?.join(path.file_name().unwrap_or_default()))
            } else {
                fs::canonicalize(path)
            }
        };
        let (certificate, key) = (place(&files.certificate)?, place(&files.key)?);
        let mut name = OsString::from(certificate.file_name().unwrap_or_default());
        name.push(".pairs");
        Ok(Self { home: certificate.with_file_name(name), certificate, key })
    }

    fn is_prepared(&self) -> bool {
        let leads = |path: &Path, name| {
            fs::read_link(path).is_ok_and(|target| target == self.target(path, name))
        };
        leads(&self.certificate, CERTIFICATE) && leads(&self.key, KEY)
    }

    /// Where the link at `path` leads: by a short way where it can, so that the folder may be moved.
    fn target(&self, path: &Path, name: &str) -> PathBuf {
        let home = match self.home.file_name() {
            Some(home) if path.parent() == self.home.parent() => Path::new(home),
            _ => &self.home,
        };
        home.join(CURRENT).join(name)
    }

    /// Writes a pair beside the current one, makes it the current one, removes the others.
    fn put(&self, certificate: &[u8], key: &[u8]) -> io::Result<()> {
        let number = 1 + self.numbers()?.max().unwrap_or(0);
        let place = self.home.join(number.to_string());
        fs::DirBuilder::new().mode(0o700).create(&place)?;
        durable::write_new(&place.join(CERTIFICATE), certificate, mode(&self.certificate, 0o644))?;
        durable::write_new(&place.join(KEY), key, mode(&self.key, 0o600))?;
        sync_folder(&self.home)?;
        link(&self.home.join(CURRENT), Path::new(&number.to_string()))?;
        // What is left of earlier ones, also of those that were never current.
        for old in self.numbers()?.filter(|old| *old != number) {
            fs::remove_dir_all(self.home.join(old.to_string()))?;
        }
        Ok(())
    }

    fn numbers(&self) -> io::Result<impl Iterator<Item = u64>> {
        let names = fs::read_dir(&self.home)?.flatten();
        Ok(names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()))
    }
}

/// Puts a link in place of what is at `path`, in one step.
fn link(path: &Path, target: &Path) -> io::Result<()> {
    let mut name = OsString::from(NEW_LINK);
    name.push("-");
    name.push(path.file_name().unwrap_or_default());
    let new = path.with_file_name(name);
    match fs::remove_file(&new) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
        _ => symlink(target, &new)?,
    }
    fs::rename(&new, path)?;
    sync_folder(folder(path))
}

/// The permissions that a file has; others are not let in by its replacement.
fn mode(path: &Path, otherwise: u32) -> u32 {
    let found = path.metadata().map(|found| found.permissions().mode());
    found.map_or(otherwise, |mode| mode & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    /// Names a folder to a child of this test, which then replaces the pair in it until it is
    /// killed.
    const CHILD: &str = "CANISTER_TEST_REPLACES_IN";

    fn files(dir: &Path) -> Files {
        Files {
            certificate: dir.join("peer.crt"),
            key: dir.join("keys/peer.key"),
            authority: dir.join("ca.crt"),
        }
    }

    fn fresh(dir: &Path) -> Files {
        let files = files(dir);
        fs::create_dir_all(dir.join("keys")).unwrap();
        fs::write(&files.certificate, "0").unwrap();
        fs::write(&files.key, "0").unwrap();
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
        files
    }

    /// What both files say, which must be the same.
    fn number(files: &Files) -> u64 {
        let certificate = fs::read_to_string(&files.certificate).unwrap();
        assert_eq!(certificate, fs::read_to_string(&files.key).unwrap());
        certificate.parse().unwrap()
    }

    #[test]
    fn a_pair_is_replaced_again_and_again() {
        let dir = tempfile::tempdir().unwrap();
        let files = fresh(dir.path());
        for round in 1..5 {
            let pair = PairOnDisk::prepare(&files).unwrap();
            assert_eq!(number(&files), round - 1);
            let text = round.to_string();
            pair.replace(text.as_bytes(), text.as_bytes()).unwrap();
            assert_eq!(number(&files), round);
            assert_eq!(mode(&files.key, 0), 0o600);
            // Only the link and the current pair.
            let home = dir.path().join("peer.crt.pairs");
            assert_eq!(fs::read_dir(home).unwrap().count(), 2);
        }
        // Its owner puts others there by hand.
        for path in [&files.certificate, &files.key] {
            fs::remove_file(path).unwrap();
            fs::write(path, "70").unwrap();
        }
        PairOnDisk::prepare(&files).unwrap().replace(b"71", b"71").unwrap();
        assert_eq!(number(&files), 71);
    }

    #[test]
    fn links_of_the_volunteers_own_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let real = fresh(dir.path());
        let linked = dir.path().join("linked.crt");
        symlink("peer.crt", &linked).unwrap();
        let files = Files { certificate: linked.clone(), ..real.clone() };
        PairOnDisk::prepare(&files).unwrap().replace(b"5", b"5").unwrap();
        assert_eq!((number(&files), number(&real)), (5, 5));
        assert_eq!(fs::read_link(&linked).unwrap(), Path::new("peer.crt"));
    }

    #[test]
    fn a_folder_that_may_not_be_written_to_is_told_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = fresh(dir.path());
        files.key = "/proc/version".into();
        assert!(PairOnDisk::prepare(&files).is_err());
        assert_eq!(fs::read_to_string(&files.certificate).unwrap(), "0");
    }

    #[test]
    fn the_files_are_a_pair_whenever_it_is_killed() {
        if let Ok(dir) = std::env::var(CHILD) {
            let files = files(Path::new(&dir));
            fs::write(Path::new(&dir).join("begun"), "").unwrap();
            loop {
                let pair = PairOnDisk::prepare(&files).unwrap();
                let next = (number(&files) + 1).to_string();
                pair.replace(next.as_bytes(), next.as_bytes()).unwrap();
            }
        }
        let program = std::env::current_exe().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (mut seed, mut last, mut fresh_ones) = (0x9e37_79b9_7f4a_7c15_u64, 0, 0);
        for round in 0..100 {
            // Every third time from plain files: the making of the links is killed, too.
            if round % 3 == 0 {
                fs::remove_dir_all(dir.path()).unwrap();
                fs::create_dir(dir.path()).unwrap();
                fresh(dir.path());
                last = 0;
            }
            let files = files(dir.path());
            let mut child = Command::new(&program)
                .args(["--exact", "pair::tests::the_files_are_a_pair_whenever_it_is_killed"])
                .env(CHILD, dir.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let begun = dir.path().join("begun");
            while fs::remove_file(&begun).is_err() {
                assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
                canister_link::clock::sleep(Duration::from_micros(200));
            }
            // A replacement takes 5 to 50 milliseconds, nearly all of them in waiting for the disk.
            canister_link::clock::sleep(Duration::from_micros((seed >> 40) % 150_000));
            child.kill().unwrap();
            assert!(!child.wait().unwrap().success(), "killed, not ended");
            let now = number(&files);
            assert!(now >= last, "round {round}: {now} after {last}");
            fresh_ones += u64::from(now > last);
            last = now;
        }
        assert!(fresh_ones > 10, "only {fresh_ones} children replaced anything");
    }
}
