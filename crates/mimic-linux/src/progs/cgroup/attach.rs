//! `CgroupPrograms`: which programs run for a control group, in which order: what attaching them by bpf(2) allows, and what it refuses.
//!
//! Mirrors `BPF_PROG_ATTACH` and `BPF_PROG_DETACH` on control groups: bpf(2), and "flags" in the UAPI header.

use mimic_abi::{AttachType, Errno};
use std::collections::BTreeMap;

/// Groups below may have a program of their own in place of this one.
pub const BPF_F_ALLOW_OVERRIDE: u32 = 1;
/// There may be several, and those of the groups below run too.
pub const BPF_F_ALLOW_MULTI: u32 = 1 << 1;
/// It takes the place of another.
pub const BPF_F_REPLACE: u32 = 1 << 2;
/// It runs before those without this flag, and before those of the groups below.
pub const BPF_F_PREORDER: u32 = 1 << 6;

/// The most programs of one attach type in one control group.
pub const CGROUP_PROGS_MAX: usize = 64;

/// Programs that are attached to control groups. `P` is a program, or something that names one.
#[derive(Clone, Debug)]
pub struct CgroupPrograms<P> {
    lists: BTreeMap<(u64, u32), List<P>>,
}

/// A group's own programs of an attach type.
#[derive(Clone, Debug)]
struct List<P> {
    /// `BPF_F_ALLOW_OVERRIDE`, `BPF_F_ALLOW_MULTI`: the same for all.
    flags: u32,
    entries: Vec<Entry<P>>,
}

#[derive(Clone, Debug)]
struct Entry<P> {
    program: P,
    preorder: bool,
}

impl<P> Default for CgroupPrograms<P> {
    fn default() -> CgroupPrograms<P> {
        CgroupPrograms { lists: BTreeMap::new() }
    }
}

impl<P: Clone + PartialEq> CgroupPrograms<P> {
    /// Attaches a program to a control group, as `BPF_PROG_ATTACH` does with these flags. `path` are the ids from the root down to the group;
    /// `replaces` is the program in whose place it comes, with `BPF_F_REPLACE`.
    pub fn attach(
        &mut self,
        path: &[u64],
        attach_type: AttachType,
        program: P,
        flags: u32,
        replaces: Option<&P>,
    ) -> Result<(), Errno> {
        let multi = flags & BPF_F_ALLOW_MULTI != 0;
        let replace = flags & BPF_F_REPLACE != 0;
        let known = BPF_F_ALLOW_OVERRIDE | BPF_F_ALLOW_MULTI | BPF_F_REPLACE | BPF_F_PREORDER;
        let both = multi && flags & BPF_F_ALLOW_OVERRIDE != 0;
        if flags & !known != 0 || both || replace && !multi || replace != replaces.is_some() {
            return Err(Errno::EINVAL);
        }
        let (group, above) = path.split_last().ok_or(Errno::ENOENT)?;
        let kept = flags & (BPF_F_ALLOW_OVERRIDE | BPF_F_ALLOW_MULTI);
        if !self.allowed_below(above, attach_type) {
            return Err(Errno::EPERM);
        }
        let key = (*group, attach_type.id());
        let list = self.lists.entry(key).or_insert_with(|| List { flags: kept, entries: Vec::new() });
        if list.flags != kept {
            return Err(Errno::EPERM);
        }
        if list.entries.len() >= CGROUP_PROGS_MAX {
            return Err(Errno::E2BIG);
        }
        let entry = Entry { program, preorder: flags & BPF_F_PREORDER != 0 };
        list.put(entry, multi, replaces)
    }

    /// Takes a program from a control group. Without `BPF_F_ALLOW_MULTI` it need not be named.
    pub fn detach(&mut self, cgroup: u64, attach_type: AttachType, program: Option<&P>) -> Result<P, Errno> {
        let key = (cgroup, attach_type.id());
        let list = self.lists.get_mut(&key).ok_or(Errno::ENOENT)?;
        let at = if list.flags & BPF_F_ALLOW_MULTI == 0 {
            0
        } else {
            let program = program.ok_or(Errno::EINVAL)?;
            let at = list.entries.iter().position(|entry| entry.program == *program);
            at.ok_or(Errno::ENOENT)?
        };
        let entry = list.entries.remove(at);
        if list.entries.is_empty() {
            self.lists.remove(&key);
        }
        Ok(entry.program)
    }

    /// The programs that run for a control group, in their order. `path` are the ids from the root down to it.
    pub fn effective(&self, path: &[u64], attach_type: AttachType) -> Vec<P> {
        let (mut first, mut then) = (Vec::new(), Vec::new());
        for group in path.iter().rev() {
            let Some(list) = self.lists.get(&(*group, attach_type.id())) else { continue };
            // Groups below have their own in place of one that is alone.
            if first.len() + then.len() > 0 && list.flags & BPF_F_ALLOW_MULTI == 0 {
                continue;
            }
            let of = |preorder| list.entries.iter().filter(move |entry| entry.preorder == preorder);
            first.splice(0..0, of(true).map(|entry| entry.program.clone()));
            then.extend(of(false).map(|entry| entry.program.clone()));
        }
        first.into_iter().chain(then).collect()
    }

    /// Whether the groups above let one below have programs of its own.
    fn allowed_below(&self, above: &[u64], attach_type: AttachType) -> bool {
        let nearest = above.iter().rev().find_map(|group| self.lists.get(&(*group, attach_type.id())));
        nearest.is_none_or(|list| list.flags != 0)
    }
}

impl<P: PartialEq> List<P> {
    fn put(&mut self, entry: Entry<P>, multi: bool, replaces: Option<&P>) -> Result<(), Errno> {
        if !multi {
            self.entries.clear();
            self.entries.push(entry);
            return Ok(());
        }
        // Replacing a program by itself is allowed, having it twice is not.
        if self.entries.iter().any(|known| known.program == entry.program && Some(&known.program) != replaces)
        {
            return Err(Errno::EINVAL);
        }
        match replaces {
            None => self.entries.push(entry),
            Some(old) => {
                let known = self.entries.iter_mut().find(|known| known.program == *old);
                *known.ok_or(Errno::ENOENT)? = entry;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: AttachType = AttachType::CgroupInet4Connect;
    const MULTI: u32 = BPF_F_ALLOW_MULTI;

    /// As Linux 6.18 answers the same calls (`BPF_PROG_ATTACH`, `BPF_PROG_QUERY` with `BPF_F_QUERY_EFFECTIVE`).
    #[test]
    fn programs_run_from_the_group_up_and_preordered_ones_from_the_root_down() {
        let mut programs = CgroupPrograms::default();
        for (path, name, flags) in [
            (&[1][..], "root", MULTI),
            (&[1, 2][..], "mid", MULTI),
            (&[1, 2][..], "mid2", MULTI),
            (&[1, 2][..], "mid first", MULTI | BPF_F_PREORDER),
            (&[1][..], "root first", MULTI | BPF_F_PREORDER),
            (&[1][..], "root second", MULTI | BPF_F_PREORDER),
        ] {
            assert_eq!(programs.attach(path, TYPE, name, flags, None), Ok(()));
        }
        let expected = ["root first", "root second", "mid first", "mid", "mid2", "root"];
        assert_eq!(programs.effective(&[1, 2, 3], TYPE), expected);
        assert_eq!(programs.detach(2, TYPE, Some(&"mid")), Ok("mid"));
        assert_eq!(programs.detach(2, TYPE, Some(&"mid")), Err(Errno::ENOENT));
        assert_eq!(programs.detach(2, TYPE, None), Err(Errno::EINVAL));
        assert_eq!(programs.attach(&[1], TYPE, "root", MULTI, None), Err(Errno::EINVAL));
        assert_eq!(programs.attach(&[1], TYPE, "x", MULTI | BPF_F_REPLACE, Some(&"y")), Err(Errno::ENOENT));
        assert_eq!(programs.attach(&[1], TYPE, "x", MULTI | BPF_F_REPLACE, Some(&"root")), Ok(()));
        assert_eq!(programs.effective(&[1], TYPE), ["root first", "root second", "x"]);
        let replaced = programs.attach(&[1], TYPE, "y", MULTI | BPF_F_REPLACE, Some(&"root first"));
        assert_eq!(replaced, Ok(()), "what comes is not preordered, and stays in its place");
        assert_eq!(programs.effective(&[1], TYPE), ["root second", "x", "y"]);
        assert_eq!(programs.attach(&[1], TYPE, "y", MULTI | BPF_F_REPLACE, Some(&"y")), Ok(()));
        assert_eq!(programs.attach(&[1], TYPE, "z", BPF_F_REPLACE, Some(&"y")), Err(Errno::EINVAL));
        assert_eq!(programs.attach(&[1], TYPE, "z", MULTI | BPF_F_REPLACE, None), Err(Errno::EINVAL));
    }

    #[test]
    fn one_alone_is_overridden_if_it_lets_itself() {
        let mut programs = CgroupPrograms::default();
        assert_eq!(programs.attach(&[1], TYPE, "a", 0, None), Ok(()));
        assert_eq!(programs.attach(&[1, 2], TYPE, "b", 0, None), Err(Errno::EPERM));
        assert_eq!(programs.attach(&[1], TYPE, "a", MULTI, None), Err(Errno::EPERM));
        assert_eq!(programs.detach(1, TYPE, None), Ok("a"));
        assert_eq!(programs.attach(&[1], TYPE, "a", BPF_F_ALLOW_OVERRIDE, None), Ok(()));
        assert_eq!(programs.attach(&[1, 2], TYPE, "b", BPF_F_ALLOW_OVERRIDE, None), Ok(()));
        assert_eq!(programs.effective(&[1, 2], TYPE), ["b"]);
        assert_eq!(programs.effective(&[1, 3], TYPE), ["a"]);
        assert_eq!(programs.attach(&[1, 2, 4], TYPE, "c", MULTI, None), Ok(()));
        assert_eq!(programs.effective(&[1, 2, 4], TYPE), ["c"]);
        assert_eq!(programs.attach(&[1, 2, 4], TYPE, "d", 0, None), Err(Errno::EPERM));
        let both = BPF_F_ALLOW_OVERRIDE | MULTI;
        assert_eq!(programs.attach(&[1], TYPE, "a", both, None), Err(Errno::EINVAL));
        assert_eq!(programs.attach(&[1], TYPE, "a", 1 << 20, None), Err(Errno::EINVAL));
    }
}
