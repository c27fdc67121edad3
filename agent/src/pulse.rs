//! Signs of life: to systemd's watchdog, and for `canister-agent health` in a file that is touched
//! while there is a session.
//!
//! A task of the one executor beats, so a loop that hangs is silent. The file is the whole
//! interface: nothing listens, and what looks at it may be another process in another container.

use canister_link::clock;
use canister_link::notify::Notifier;
use log::warn;
use smol::Timer;
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the file is touched in a session.
const TOUCH: Duration = Duration::from_secs(60);
/// Without a touch for so long, an agent isn't well: long enough for an arbiter to be restarted,
/// and for the next one to be tried.
pub const HEALTHY: Duration = Duration::from_secs(180);

/// The pulse of an agent.
#[derive(Debug)]
pub struct Pulse {
    notifier: Notifier,
    file: Option<PathBuf>,
    in_session: Cell<bool>,
}

impl Pulse {
    /// A pulse for the service's manager and, if there is to be one, in a file.
    pub const fn new(notifier: Notifier, file: Option<PathBuf>) -> Self {
        Self { notifier, file, in_session: Cell::new(false) }
    }

    /// The loop begins.
    pub fn ready(&self) {
        self.notifier.ready();
        self.notifier.status("connecting");
    }

    /// A session has begun with this arbiter.
    pub fn session_begins(&self, arbiter: &str) {
        self.notifier.status(&format!("in session with {arbiter}"));
        self.in_session.set(true);
        self.touch();
    }

    /// What the agent does, in a sentence, where that is more than a session's state.
    pub fn is_at(&self, state: &str) {
        self.notifier.status(state);
    }

    /// It is over; the next arbiter is tried.
    pub fn session_ends(&self) {
        self.notifier.status("connecting");
        self.in_session.set(false);
    }

    /// The agent has begun to stop.
    pub fn stopping(&self) {
        self.notifier.stopping();
    }

    /// Beats for ever.
    pub async fn beat(&self) {
        let watchdog = self.notifier.watchdog();
        if watchdog.is_none() && self.file.is_none() {
            // Nobody feels it.
            return;
        }
        let touch = self.file.as_ref().map(|_| TOUCH);
        let interval = watchdog.into_iter().chain(touch).min().unwrap_or(TOUCH);
        loop {
            self.notifier.alive();
            if self.in_session.get() {
                self.touch();
            }
            Timer::after(interval).await;
        }
    }

    fn touch(&self) {
        let Some(path) = &self.file else { return };
        // A new file is one that was just written; an old one is told so.
        let touched = File::options()
            .append(true)
            .create(true)
            .open(path)
            .and_then(|file| file.set_modified(clock::wall()));
        if let Err(cause) = touched {
            warn!(file:% = path.display(), cause:%; "couldn't touch the health file");
        }
    }
}

/// Whether the agent that touches `path` is well at `now`.
///
/// # Errors
/// It isn't: one line that says why.
pub fn check(path: &Path, now: std::time::SystemTime) -> Result<String, String> {
    let why = |what: String| format!("no sign of life in {}: {what}", path.display());
    let touched = path.metadata().and_then(|found| found.modified());
    let touched = touched.map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => why("there was no session yet".to_owned()),
        _ => why(cause.to_string()),
    })?;
    // A clock that was set back since is no illness.
    let age = now.duration_since(touched).unwrap_or_default();
    if age > HEALTHY {
        return Err(why(format!("no session for {} s; its log says why", age.as_secs())));
    }
    Ok(format!("in session {} s ago\n", age.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_felt_for_a_while_and_no_longer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("health");
        let pulse = Pulse::new(Notifier::default(), Some(path.clone()));
        assert!(check(&path, clock::wall()).unwrap_err().contains("yet"));
        pulse.session_begins("wss://a.example/connect");
        let touched = path.metadata().unwrap().modified().unwrap();
        assert!(check(&path, touched).is_ok());
        assert!(check(&path, touched + HEALTHY).is_ok());
        assert!(check(&path, touched - HEALTHY).is_ok());
        let late = touched + HEALTHY + Duration::from_secs(1);
        assert!(check(&path, late).unwrap_err().contains("181 s"));
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn a_touch_makes_an_old_file_young() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("health");
        let old = clock::wall() - 2 * HEALTHY;
        File::create(&path).unwrap().set_modified(old).unwrap();
        assert!(check(&path, clock::wall()).is_err());
        Pulse::new(Notifier::default(), Some(path.clone())).touch();
        assert!(check(&path, clock::wall()).is_ok());
    }
}
