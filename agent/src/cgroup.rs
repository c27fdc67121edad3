//! The limits on memory and CPU time that the system holds this process to: those of its control
//! group and of every group above it. Linux only; elsewhere none are found.
//!
//! Spec: cgroups(7); Documentation/admin-guide/cgroup-v2.rst of Linux, and cgroup-v1/.

use std::fs;
use std::path::{Path, PathBuf};

/// What was found; the tightest of each.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CgroupLimits {
    /// Bytes of memory above which the process is killed.
    pub memory_bytes: Option<u64>,
    /// CPU time a second of time, in threads.
    pub cpu_threads: Option<f64>,
}

/// A limit of version 1 from here on is its way to say that there is none.
const NO_LIMIT: u64 = 1 << 60;

/// The limits in force on this process.
pub fn limits() -> CgroupLimits {
    limits_below(Path::new("/"))
}

fn limits_below(root: &Path) -> CgroupLimits {
    let mut limits = CgroupLimits::default();
    let mounts = root.join("sys/fs/cgroup");
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let has = |name: &str| controllers.split(',').any(|controller| controller == name);
        if controllers.is_empty() {
            for group in up(&mounts, path) {
                limits.memory(number(&group.join("memory.max")));
                limits.cpu(quota(&group.join("cpu.max")));
            }
        }
        if has("memory") {
            for group in up(&mounts.join("memory"), path) {
                limits.memory(number(&group.join("memory.limit_in_bytes")));
            }
        }
        if has("cpu") {
            for group in up(&mounts.join("cpu"), path) {
                let (quota, period) = (
                    number(&group.join("cpu.cfs_quota_us")),
                    number(&group.join("cpu.cfs_period_us")),
                );
                limits.cpu(quota.zip(period).and_then(share));
            }
        }
    }
    limits
}

impl CgroupLimits {
    fn memory(&mut self, bytes: Option<u64>) {
        let known = self.memory_bytes.into_iter();
        self.memory_bytes = known.chain(bytes.filter(|it| *it < NO_LIMIT)).min();
    }

    fn cpu(&mut self, threads: Option<f64>) {
        let known = self.cpu_threads.into_iter();
        self.cpu_threads = known.chain(threads).reduce(f64::min);
    }
}

/// A group and those above it. In a container its own group is mounted as the root, and the path
/// that the kernel tells leads nowhere: then the root is all there is.
fn up(mount: &Path, path: &str) -> Vec<PathBuf> {
    let own = mount.join(path.trim_start_matches('/'));
    let mut all = own.ancestors();
    let mut found: Vec<PathBuf> = all
        .by_ref()
        .take_while(|group| *group != mount && group.starts_with(mount))
        .map(Path::to_owned)
        .collect();
    found.push(mount.to_owned());
    found
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn quota(path: &Path) -> Option<f64> {
    let text = fs::read_to_string(path).ok()?;
    let mut words = text.split_whitespace().map(|word| word.parse().ok());
    share((words.next()??, words.next()??))
}

fn share((quota, period): (u64, u64)) -> Option<f64> {
    (period > 0).then(|| quota as f64 / period as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> CgroupLimits {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        limits_below(root.path())
    }

    fn limits(memory_bytes: Option<u64>, cpu_threads: Option<f64>) -> CgroupLimits {
        CgroupLimits { memory_bytes, cpu_threads }
    }

    #[test]
    fn the_tightest_limit_counts() {
        assert_eq!(found(&[]), limits(None, None));
        let unit = "sys/fs/cgroup/system.slice/canister-agent.service";
        let v2 = &[
            ("proc/self/cgroup", "0::/system.slice/canister-agent.service\n"),
            (&*format!("{unit}/memory.max"), "268435456\n"),
            (&*format!("{unit}/cpu.max"), "max 100000\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "134217728\n"),
            ("sys/fs/cgroup/system.slice/cpu.max", "50000 100000\n"),
        ];
        assert_eq!(found(v2), limits(Some(128 << 20), Some(0.5)));
        let unlimited = &[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "max\n")];
        assert_eq!(found(unlimited), limits(None, None));
    }

    #[test]
    fn a_container_sees_its_group_as_the_root() {
        let v2 = &[
            ("proc/self/cgroup", "0::/docker/0123\n"),
            ("sys/fs/cgroup/memory.max", "67108864\n"),
        ];
        assert_eq!(found(v2), limits(Some(64 << 20), None));
        let v1 = &[
            (
                "proc/self/cgroup",
                "9:memory:/docker/0123\n3:cpu,cpuacct:/docker/0123\n1:name=systemd:/x\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "150000\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ];
        assert_eq!(found(v1), limits(Some(64 << 20), Some(1.5)));
        let unlimited = &[
            ("proc/self/cgroup", "9:memory:/\n3:cpu,cpuacct:/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ];
        assert_eq!(found(unlimited), limits(None, None));
    }
}
