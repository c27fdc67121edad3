//! Structured logs on standard error: one line an event, `[time LEVEL module] text key=value …`.

use log::LevelFilter;

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
        .parse_default_env()
        .init();
}
