//! What systemd is told of a service: that it is ready, alive, about to stop, and a line of status.
//!
//! One datagram each to the socket that systemd names, as sd_notify(3) describes; without systemd
//! there is no socket and nothing is said.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// What the service tells the system's manager.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// The notifier that this process's environment asks for: `NOTIFY_SOCKET`, `WATCHDOG_USEC` and
    /// `WATCHDOG_PID`.
    pub fn from_environment() -> Self {
        let get = |name: &str| std::env::var_os(name);
        Self::new(
            get("NOTIFY_SOCKET").as_deref(),
            interval(get("WATCHDOG_USEC"), get("WATCHDOG_PID"), std::process::id()),
        )
    }

    fn new(socket: Option<&OsStr>, watchdog: Option<Duration>) -> Self {
        Self {
            // A manager that can't be reached is as good as none: it will say so itself.
            socket: socket.and_then(|name| open(name).ok()),
            watchdog,
        }
    }

    /// How often [`alive`](Self::alive) is to be called, if at all: twice in the time after which
    /// the service counts as hung.
    pub const fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The service has started: certificate and key are good, its loop runs.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// The loop still turns.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    /// A line for `systemctl status`.
    pub fn status(&self, text: &str) {
        self.say(&format!("STATUS={text}"));
    }

    /// The service has begun to stop.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    fn say(&self, text: &str) {
        if let Some(socket) = &self.socket {
            // It doesn't wait. A full queue takes the next one, in time for the watchdog.
            let _ = socket.send(text.as_bytes());
        }
    }
}

/// A socket connected to a path, or to an abstract name after `@`.
fn open(name: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(name)?,
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Half of the watchdog's time, if there is one and it is meant for the process `own`.
fn interval(microseconds: Option<OsString>, pid: Option<OsString>, own: u32) -> Option<Duration> {
    let number = |text: OsString| text.to_str()?.parse::<u64>().ok();
    if pid.is_some_and(|pid| number(pid) != Some(own.into())) {
        return None;
    }
    let half = number(microseconds?)? / 2;
    (half > 0).then(|| Duration::from_micros(half))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_hears_what_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(Some(path.as_os_str()), None);
        notifier.ready();
        notifier.status("a session");
        notifier.alive();
        notifier.stopping();
        let mut bytes = [0; 64];
        for expected in ["READY=1", "STATUS=a session", "WATCHDOG=1", "STOPPING=1"] {
            let length = manager.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..length], expected.as_bytes());
        }
    }

    #[test]
    fn an_abstract_name_begins_with_an_at_sign() {
        let name = format!("canister-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let name = OsString::from(format!("@{name}"));
        Notifier::new(Some(&name), None).ready();
        let mut bytes = [0; 64];
        let length = manager.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"READY=1");
    }

    #[test]
    fn nobody_is_told_where_nobody_listens() {
        Notifier::new(None, None).ready();
        Notifier::new(Some(OsStr::new("/nowhere/notify")), None).ready();
    }

    #[test]
    fn a_watchdog_is_fed_twice_in_its_time_and_only_by_whom_it_watches() {
        let text = |text: &str| Some(OsString::from(text));
        for (microseconds, pid, expected) in [
            (None, None, None),
            (text("60000000"), None, Some(30)),
            (text("60000000"), text("7"), Some(30)),
            (text("60000000"), text("8"), None),
            (text("60000000"), text("x"), None),
            (text("x"), None, None),
            (text("0"), None, None),
            (text("1"), None, None),
        ] {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(interval(microseconds, pid, 7), expected);
        }
    }
}
