//! A pause: no lease is taken until it is over. The owner's is kept in a file, so that it holds when the
//! agent is started again; one that the operator asked for lasts as long as the process.

use canister_link::{clock, durable};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file's name in the peer's folder.
pub const NAME: &str = "paused";
/// Longest file that is read, in bytes.
const BYTES_MAX: u64 = 64;
/// What stands for the end of a pause that only `resume` ends.
const RESUME: &str = "resume";

/// A pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// When it is over, in milliseconds since 1970; none: when somebody says so.
    pub until: Option<u64>,
    /// Why, where it is the operator's.
    pub operator: Option<String>,
}

impl Pause {
    /// The owner's, from now on for so long.
    pub fn of_owner(time: Option<Duration>) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let until = time.map(|time| clock::wall_millis().saturating_add(millis(time)));
        Self { until, operator: None }
    }

    /// How long it lasts yet at `now`, in milliseconds since 1970; none: until somebody ends it.
    pub fn left(&self, now: u64) -> Option<Duration> {
        self.until.map(|until| Duration::from_millis(until.saturating_sub(now)))
    }

    /// Whether it is over by now.
    pub fn is_over(&self) -> bool {
        self.left(clock::wall_millis()) == Some(Duration::ZERO)
    }

    /// Keeps the owner's pause, or that there is none.
    ///
    /// # Errors
    /// What the system says.
    pub fn keep(pause: Option<&Self>, path: &Path) -> io::Result<()> {
        let Some(pause) = pause.filter(|pause| pause.operator.is_none()) else {
            return match std::fs::remove_file(path) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
                _ => Ok(()),
            };
        };
        let until = pause.until.map_or_else(|| RESUME.to_owned(), |until| until.to_string());
        durable::replace(path, format!("until {until}\n").as_bytes(), 0o600)
    }

    /// The pause that was kept, if it isn't over at `now`.
    ///
    /// # Errors
    /// What is wrong with the file, in a line. It is better to work than to be paused by a fault.
    pub fn kept(path: &Path, now: u64) -> Result<Option<Self>, String> {
        let why = |why: String| format!("{}: {why}", path.display());
        let mut text = String::new();
        match std::fs::File::open(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened
                .and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text))
                .map_err(|cause| why(cause.to_string()))?,
        };
        let until = match text.trim_end().strip_prefix("until ") {
            Some(RESUME) => None,
            Some(until) => Some(until.parse().map_err(|_| why(format!("{until:?} is no time")))?),
            None => return Err(why("it doesn't say until when".to_owned())),
        };
        let pause = Self { until, operator: None };
        Ok(Some(pause).filter(|pause| pause.left(now) != Some(Duration::ZERO)))
    }
}

/// The file of a peer's pause.
pub fn file(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_kept_until_it_is_over_or_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path());
        assert_eq!(Pause::kept(&path, 0), Ok(None));
        for (until, now, left) in
            [(None, u64::MAX, None), (Some(5000), 1000, Some(Duration::from_secs(4)))]
        {
            let pause = Pause { until, operator: None };
            Pause::keep(Some(&pause), &path).unwrap();
            assert_eq!(pause.left(now), left);
            assert_eq!(Pause::kept(&path, now), Ok(Some(pause)));
        }
        assert_eq!(Pause::kept(&path, 5000), Ok(None));
        // What the operator asks isn't kept, and no longer what was.
        let theirs = Pause { until: None, operator: Some("an update".to_owned()) };
        Pause::keep(Some(&theirs), &path).unwrap();
        assert_eq!(Pause::kept(&path, 0), Ok(None));
        Pause::keep(None, &path).unwrap();
    }

    #[test]
    fn a_file_that_says_nothing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path());
        for text in
            [&b""[..], b"until", b"until x", b"\xff", b"until 18446744073709551616", &[b'1'; 99]]
        {
            std::fs::write(&path, text).unwrap();
            let why = Pause::kept(&path, 0).unwrap_err();
            assert!(why.starts_with(&path.display().to_string()), "{why}");
        }
    }
}
