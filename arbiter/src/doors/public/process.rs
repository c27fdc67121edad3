//! This process as the system sees it, by the names that Prometheus' own clients use.
//!
//! Spec: <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>; proc(5).

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use rustix::param::{clock_ticks_per_second, page_size};

/// What is known of it.
pub(super) fn registry() -> Registry {
    let mut registry = Registry::with_prefix("process");
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let stat = read("/proc/self/stat");
    // Behind the program's name, which may have anything in it.
    let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
    let field = |number: usize| -> Option<u64> {
        // proc(5) counts from 1, and the third is the first behind the name.
        behind.split_ascii_whitespace().nth(number - 3)?.parse().ok()
    };
    let ticks = clock_ticks_per_second() as f64;
    if let (Some(user), Some(system)) = (field(14), field(15)) {
        let seconds = ConstCounter::new((user + system) as f64 / ticks);
        registry.register("cpu_seconds", "Processor time, user's and system's", seconds);
    }
    let booted = read("/proc/stat");
    let booted = booted.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
    if let (Some(booted), Some(started)) = (booted.map(|it: u64| it as f64), field(22)) {
        let at = ConstGauge::new(booted + started as f64 / ticks);
        registry.register("start_time_seconds", "When the process started, since 1970", at);
    }
    for (name, help, bytes) in [
        ("virtual_memory_bytes", "Size of the address space", field(23)),
        ("resident_memory_bytes", "Memory in use", field(24).map(|it| it * page_size() as u64)),
    ] {
        if let Some(bytes) = bytes.and_then(|it| i64::try_from(it).ok()) {
            registry.register(name, help, ConstGauge::new(bytes));
        }
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        let open = i64::try_from(open.count()).unwrap_or(i64::MAX);
        registry.register("open_fds", "Files and connections that are open", ConstGauge::new(open));
    }
    registry
}
