//! Tasks: identity, control group, memory areas, open files.

use super::system::cgroup_mount;
use super::{Capture, inode, names, read, word};
use mimic::linux::{CGROUP_ROOT, PidNs, Task, UserArea};

/// The most tasks.
const TASKS_MAX: usize = 1 << 15;
/// Areas of a task at most.
const AREAS_MAX: usize = 1 << 16;
/// Units of start times in a second: `USER_HZ`.
const USER_HZ: u64 = 100;

impl Capture {
    /// All tasks that are there; this process is the one that CPUs run.
    pub(super) fn tasks(&mut self) {
        let cgroup_root = cgroup_mount(&read("/proc/mounts").unwrap_or_default());
        let mut closed = 0;
        for tgid in names("/proc").iter().filter_map(|name| name.parse::<u32>().ok()) {
            let mut threads = names(&format!("/proc/{tgid}/task"));
            threads.sort_by_key(|name| name.parse::<u32>().unwrap_or(u32::MAX));
            for pid in threads.iter().filter_map(|name| name.parse::<u32>().ok()) {
                if self.world.tasks.len() >= TASKS_MAX {
                    return self.leave_out("tasks", format!("only the first {TASKS_MAX} are taken"));
                }
                // A task can end while it is looked at.
                let Some(mut task) = task(tgid, pid) else { continue };
                task.cgroup =
                    cgroup_root.as_deref().and_then(|root| cgroup(root, tgid, pid)).unwrap_or(CGROUP_ROOT);
                closed += usize::from(!self.belongings(&mut task, tgid));
                self.world.tasks.push(task);
            }
        }
        self.world.tasks.sort_by_key(|task| task.pid);
        self.world.current = vec![std::process::id()];
        if closed > 0 {
            self.leave_out("memory areas and files of tasks", format!("those of {closed} may not be read"));
        }
    }

    /// Memory areas, open files and the program of a task. False if they may not be read.
    fn belongings(&mut self, task: &mut Task, tgid: u32) -> bool {
        const PF_KTHREAD: u32 = 0x20_0000;
        if task.flags & PF_KTHREAD != 0 {
            return true;
        }
        if let Some(path) = link(&format!("/proc/{tgid}/exe")) {
            task.exe = self.file(&path, 0, 0);
        }
        for name in names(&format!("/proc/{tgid}/fd")) {
            let (Ok(fd), Some(path)) = (name.parse(), link(&format!("/proc/{tgid}/fd/{name}"))) else {
                continue;
            };
            let info = read(&format!("/proc/{tgid}/fdinfo/{name}")).unwrap_or_default();
            let (pos, flags) = fdinfo(&info);
            task.files.push((fd, self.file(&path, flags, pos)));
        }
        task.files.sort_unstable();
        let Ok(maps) = read(&format!("/proc/{tgid}/maps")) else { return false };
        for (mut area, path) in areas(&maps) {
            if path.starts_with('/') {
                area.file = self.file(path, 0, 0);
            }
            task.memory.push(area);
        }
        true
    }
}

/// The identity of a task.
fn task(tgid: u32, pid: u32) -> Option<Task> {
    let stat = read(&format!("/proc/{tgid}/task/{pid}/stat")).ok()?;
    let status = read(&format!("/proc/{tgid}/task/{pid}/status")).ok()?;
    let mut task = Task { pid, tgid, ..identity(&stat, &status)? };
    if let Some(ns) = inode(&format!("/proc/{tgid}/ns/pid")) {
        task.pid_ns = PidNs { dev: ns.dev.into(), ino: ns.ino };
    }
    Some(task)
}

/// What `stat` and `status` say.
fn identity(stat: &str, status: &str) -> Option<Task> {
    const NS: u64 = 1_000_000_000;
    // The name may hold anything, parentheses too.
    let (head, rest) = stat.rsplit_once(')')?;
    let (_, comm) = head.split_once('(')?;
    // Behind the name: state, ppid, pgrp, session, tty, tpgid, flags, … starttime is the 20th.
    let words: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| words.get(at)?.parse::<u64>().ok();
    let id = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some(Task {
        comm: comm.into(),
        ppid: number(1)? as u32,
        flags: number(6)? as u32,
        start_ns: number(19)?.saturating_mul(NS / USER_HZ),
        uid: id("Uid:")?,
        gid: id("Gid:")?,
        ..Task::default()
    })
}

/// The id of a task's control group of version 2.
fn cgroup(root: &str, tgid: u32, pid: u32) -> Option<u64> {
    let text = word(&format!("/proc/{tgid}/task/{pid}/cgroup"))?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    inode(&format!("{root}{path}")).map(|inode| inode.ino)
}

/// The memory areas of `maps`, with the paths of their files.
fn areas(maps: &str) -> Vec<(UserArea, &str)> {
    let area = |line: &str| -> Option<UserArea> {
        const PAGE_LEN: u64 = 4096;
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        let (start, end) = (hex(start)?, hex(end)?);
        let flags = words.next()?.bytes().zip([1, 2, 4, 8]);
        let flags = flags.map(|(set, flag)| if b"rwxs".contains(&set) { flag } else { 0 }).sum();
        let pgoff = hex(words.next()?)? / PAGE_LEN;
        Some(UserArea { start, len: end.checked_sub(start)?, flags, pgoff, ..UserArea::default() })
    };
    // The path is all that follows five words and white space.
    let path = |line| {
        let mut rest: &str = line;
        for _ in 0..5 {
            rest = rest.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim_start());
        }
        rest
    };
    maps.lines().take(AREAS_MAX).filter_map(|line| Some((area(line)?, path(line)))).collect()
}

/// Position and flags of an open file.
fn fdinfo(text: &str) -> (u64, u32) {
    let field = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let pos = field("pos:").and_then(|pos| pos.parse().ok()).unwrap_or(0);
    let flags = field("flags:").and_then(|flags| u32::from_str_radix(flags, 8).ok()).unwrap_or(0);
    (pos, flags)
}

fn link(path: &str) -> Option<String> {
    std::fs::read_link(path).ok()?.into_os_string().into_string().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_tasks_are_read() {
        let stat =
            "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 250 1000 100 18446744073709551615";
        let task =
            identity(stat, "Name:\ta\nUid:\t33\t33\t33\t33\nGid:\t44\t44\t44\t44\n").expect("it is good");
        assert_eq!((task.comm.as_str(), task.ppid, task.flags), ("a ) b", 1, 4_194_560));
        assert_eq!((task.start_ns, task.uid, task.gid), (2_500_000_000, 33, 44));
        assert_eq!(identity("7 (x", ""), None);
        let maps = "1000-3000 r-xp 00002000 08:01 77   /usr/bin/a b\n3000-4000 rw-s 00000000 00:00 0 \nbad\n";
        let areas = areas(maps);
        let expected = UserArea { start: 0x1000, len: 0x2000, flags: 5, pgoff: 2, ..UserArea::default() };
        assert_eq!(areas[0], (expected, "/usr/bin/a b"));
        assert_eq!((areas.len(), areas[1].0.flags, areas[1].1), (2, 11, ""));
        assert_eq!(fdinfo("pos:\t12\nflags:\t0100002\nmnt_id:\t3\n"), (12, 0o100_002));
    }
}
