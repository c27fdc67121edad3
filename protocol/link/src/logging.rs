//! Structured logs on standard error: one line an event, `[time LEVEL module] text key=value …`. What
//! others wrote can't make a second line of it ([`Plain`]).
//!
//! systemd's journal has a time of its own and sorts by priority: it is told `<4>[module] text …`, as
//! sd-daemon(3) describes.

use canister_protocol::plain::Plain;
use log::kv::{self, Key, Value, VisitSource};
use log::{Level, LevelFilter};
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};

/// Begins logging at `level` (`error`, `warn`, `info`, `debug`, `trace`) for both programs' own
/// modules, and warnings of what they are built from. The environment variable `RUST_LOG`, in
/// env_logger's syntax, overrides it.
pub fn start(level: LevelFilter) {
    let is_journal = is_journal();
    env_logger::Builder::new()
        .filter_level(level.min(LevelFilter::Warn))
        .filter_module("canister_agent", level)
        .filter_module("canister_arbiter", level)
        .filter_module("canister_authority", level)
        .filter_module("canister_link", level)
        .format(move |to, record| {
            let (time, level, module) = (to.timestamp(), record.level(), record.target());
            let mut said = LogLine(record.args().to_string());
            // Writing to a string can't fail.
            let _ = record.key_values().visit(&mut said);
            match is_journal {
                true => writeln!(to, "<{}>[{module}] {}", priority(level), Plain(&said.0)),
                false => writeln!(to, "[{time} {level:<5} {module}] {}", Plain(&said.0)),
            }
        })
        .parse_default_env()
        .init();
}

/// What a line of standard error begins with that is of this level and no event: its priority, for the
/// journal.
pub fn prefix(level: Level) -> String {
    if is_journal() { format!("<{}>", priority(level)) } else { String::new() }
}

/// Whether standard error leads into the journal that the environment names: by device and inode, for
/// the variable is inherited by what has another standard error.
fn is_journal() -> bool {
    let is_it = || {
        let stream = std::env::var("JOURNAL_STREAM").ok()?;
        let error = rustix::fs::fstat(io::stderr()).ok()?;
        let (device, inode) = stream.split_once(':')?;
        Some(device.parse() == Ok(error.st_dev) && inode.parse() == Ok(error.st_ino))
    };
    is_it() == Some(true)
}

/// A level as syslog(3) numbers it.
const fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// The text of an event, with its keys and values behind it.
struct LogLine(String);

impl<'kvs> VisitSource<'kvs> for LogLine {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        write!(self.0, " {key}={value}").map_err(|_: fmt::Error| kv::Error::msg("full"))
    }
}
