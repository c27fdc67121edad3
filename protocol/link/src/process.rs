//! What the kernel says of a process.

/// Peak resident memory of a process (its id, or `self`) in bytes, where the kernel tells.
pub fn peak_rss_bytes(process: &str) -> Option<u64> {
    bytes(process, "VmHWM:")
}

/// Resident memory of a process now.
pub fn rss_bytes(process: &str) -> Option<u64> {
    bytes(process, "VmRSS:")
}

/// Spec: proc_pid_status(5).
fn bytes(process: &str, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
