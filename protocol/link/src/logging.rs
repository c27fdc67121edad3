//! Structured logs on standard error: one line an event, `[time LEVEL module] text key=value …`. What
//! others wrote can't make a second line of it ([`Plain`]).

use canister_protocol::plain::Plain;
use log::LevelFilter;
use log::kv::{self, Key, Value, VisitSource};
use std::fmt::{self, Write as _};
use std::io::Write as _;

/// Begins logging at `level` (`error`, `warn`, `info`, `debug`, `trace`) for both programs' own
/// modules, and warnings of what they are built from. The environment variable `RUST_LOG`, in
/// env_logger's syntax, overrides it.
pub fn start(level: LevelFilter) {
    env_logger::Builder::new()
        .filter_level(level.min(LevelFilter::Warn))
        .filter_module("canister_agent", level)
        .filter_module("canister_arbiter", level)
        .filter_module("canister_authority", level)
        .filter_module("canister_link", level)
        .format(|to, record| {
            let (time, level, module) = (to.timestamp(), record.level(), record.target());
            let mut said = LogLine(record.args().to_string());
            // Writing to a string can't fail.
            let _ = record.key_values().visit(&mut said);
            writeln!(to, "[{time} {level:<5} {module}] {}", Plain(&said.0))
        })
        .parse_default_env()
        .init();
}

/// The text of an event, with its keys and values behind it.
struct LogLine(String);

impl<'kvs> VisitSource<'kvs> for LogLine {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        write!(self.0, " {key}={value}").map_err(|_: fmt::Error| kv::Error::msg("full"))
    }
}
