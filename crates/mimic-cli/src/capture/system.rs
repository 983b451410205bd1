//! Clocks, NUMA nodes, sysctls, symbols, control groups.

use super::{Capture, inode, names, read, word};
use mimic::linux::{CGROUP_ROOT, Cgroup, Ksym};
use std::time::{SystemTime, UNIX_EPOCH};

/// The longest value of a sysctl that is kept, in bytes.
const SYSCTL_LEN_MAX: usize = 4096;
/// The deepest folder that is looked into.
const DEPTH_MAX: usize = 32;
/// The most control groups.
const CGROUPS_MAX: usize = 1 << 14;
/// The most symbols.
const KSYMS_MAX: usize = 1 << 20;

impl Capture {
    /// The clocks, the NUMA nodes of CPUs, the sysctls.
    pub(super) fn system(&mut self) {
        let up_ns = self.read("/proc/uptime").and_then(|text| uptime_ns(&text));
        let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        if let Some(up_ns) = up_ns {
            self.world.clock.start_ns = up_ns;
            self.world.clock.epoch_ns = now_ns.saturating_sub(up_ns);
        }
        for name in names("/sys/devices/system/node") {
            let Some(node) = name.strip_prefix("node").and_then(|number| number.parse::<u32>().ok()) else {
                continue;
            };
            let list = word(&format!("/sys/devices/system/node/{name}/cpulist")).unwrap_or_default();
            for cpu in cpu_list(&list) {
                let len = self.world.numa_nodes.len().max(cpu + 1);
                self.world.numa_nodes.resize(len, 0);
                self.world.numa_nodes[cpu] = node;
            }
        }
        let mut unread = 0;
        self.sysctls("", 0, &mut unread);
        if unread > 0 {
            self.leave_out("sysctls", format!("{unread} may not be read, or are too long"));
        }
    }

    fn sysctls(&mut self, below: &str, depth: usize, unread: &mut usize) {
        for name in names(&format!("/proc/sys/{below}")) {
            let name = if below.is_empty() { name } else { format!("{below}/{name}") };
            let path = format!("/proc/sys/{name}");
            match std::fs::symlink_metadata(&path) {
                Ok(stat) if stat.is_dir() && depth < DEPTH_MAX => self.sysctls(&name, depth + 1, unread),
                Ok(stat) if stat.is_file() => match read(&path) {
                    Ok(text) if text.len() <= SYSCTL_LEN_MAX => {
                        self.world.sysctls.insert(name, text.trim_end_matches('\n').to_owned());
                    }
                    Ok(_) | Err(_) => *unread += 1,
                },
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// The kernel's symbols, if it shows their addresses.
    pub(super) fn ksyms(&mut self) {
        let Some(text) = self.read("/proc/kallsyms") else { return };
        let ksyms = ksyms(&text);
        if ksyms.iter().all(|ksym| ksym.addr == 0) {
            return self.leave_out("the kernel's symbols", "their addresses are hidden from this user");
        }
        self.world.ksyms = ksyms;
    }

    /// The tree of version 2.
    pub(super) fn control_groups(&mut self) {
        let mounts = self.read("/proc/mounts").unwrap_or_default();
        let Some(root) = cgroup_mount(&mounts) else {
            return self.leave_out("control groups", "no hierarchy of version 2 is mounted");
        };
        self.control_group(&root, CGROUP_ROOT, 0);
    }

    fn control_group(&mut self, path: &str, id: u64, depth: usize) {
        for name in names(path) {
            let child = format!("{path}/{name}");
            if !std::fs::symlink_metadata(&child).is_ok_and(|stat| stat.is_dir()) || depth >= DEPTH_MAX {
                continue;
            }
            if self.world.cgroups.len() >= CGROUPS_MAX {
                return;
            }
            let Some(inode) = inode(&child) else { continue };
            self.world.cgroups.push(Cgroup::child(inode.ino, id, &name));
            self.control_group(&child, inode.ino, depth + 1);
        }
    }
}

/// Where the hierarchy of version 2 is mounted.
pub(super) fn cgroup_mount(mounts: &str) -> Option<String> {
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
    mount.split(' ').nth(1).map(str::to_owned)
}

fn uptime_ns(text: &str) -> Option<u64> {
    let seconds: f64 = text.split(' ').next()?.parse().ok()?;
    Some((seconds * 1e9) as u64)
}

/// The numbers of a list like `0-3,8`.
fn cpu_list(text: &str) -> Vec<usize> {
    const CPUS_MAX: usize = 1024;
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(from), Ok(to)) = (from.parse::<usize>(), to.parse::<usize>()) {
            cpus.extend((from..=to).filter(|cpu| *cpu < CPUS_MAX).take(CPUS_MAX));
        }
    }
    cpus
}

fn ksyms(text: &str) -> Vec<Ksym> {
    let ksym = |line: &str| {
        let mut words = line.split_whitespace();
        let addr = u64::from_str_radix(words.next()?, 16).ok()?;
        Some(Ksym { addr, name: words.nth(1)?.to_owned() })
    };
    text.lines().filter_map(ksym).take(KSYMS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_system_are_read() {
        assert_eq!(uptime_ns("14868.50 3787.69\n"), Some(14_868_500_000_000));
        assert_eq!(cpu_list("0-2,8"), [0, 1, 2, 8]);
        assert_eq!(cpu_list("0-99999999999").len(), 1024);
        assert_eq!(cpu_list("x"), [0; 0]);
        let mounts = "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n";
        assert_eq!(cgroup_mount(mounts).as_deref(), Some("/sys/fs/cgroup"));
        let ksyms = ksyms("ffffffff81000000 T _text\nffffffffc0000000 t f\t[module]\nbad\n");
        assert_eq!((ksyms[0].addr, ksyms[0].name.as_str()), (0xffff_ffff_8100_0000, "_text"));
        assert_eq!((ksyms.len(), ksyms[1].name.as_str()), (2, "f"));
    }
}
