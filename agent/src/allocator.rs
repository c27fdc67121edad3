//! How memory that was freed goes back to the system: at once, so that an agent at rest is small again.
//!
//! musl's allocator, of the static builds, does so. glibc's keeps an arena for each thread, and after a
//! decoder's window was freed, as much as that had for whoever asks next. It takes other orders only from
//! its environment, when a program starts; so the program starts itself again, once.

use log::debug;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// What glibc's allocator is told: mallopt(3), "Environment variables".
const ORDERS: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "1"),
    // Once set, these don't grow by what is freed.
    ("MALLOC_MMAP_THRESHOLD_", "131072"),
    ("MALLOC_TRIM_THRESHOLD_", "131072"),
];

/// Starts this program again with those orders, in the same process, if it is built for glibc and nobody
/// gave any. To be called before anything else is done.
pub fn settle() {
    let is_given = || ORDERS.iter().any(|(name, _)| std::env::var_os(name).is_some());
    if cfg!(target_env = "gnu")
        && !is_given()
        && let Err(cause) = again()
    {
        debug!(cause:%; "couldn't tell the allocator to give back what is freed");
    }
}

/// It returns only where it fails; then all goes on, with more memory.
fn again() -> io::Result<()> {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let mut command = Command::new(std::env::current_exe()?);
    Err(command.arg0(name).args(words).envs(ORDERS).exec())
}
