//! Control groups as `struct cgroup`, with what tasks point at to be in one.

use super::{Fields, ObjectKey};

pub(super) fn fill(to: &mut Fields<'_>, id: u64) {
    let ids = to.tables().ancestry(id);
    to.set("level", ids.len().saturating_sub(1) as u64);
    to.set("max_depth", i32::MAX as u64);
    to.point("kn", ObjectKey::Kernfs(id));
    let this = to.this();
    to.set("self.cgroup", this);
    if let Some(parent) = ids.len().checked_sub(2).and_then(|at| ids.get(at)) {
        // The parent's first member is what `self.parent` points at.
        to.point("self.parent", ObjectKey::Cgroup(*parent));
    }
    for (level, id) in ids.iter().enumerate() {
        let addr = to.address(ObjectKey::Cgroup(*id));
        to.set_at("ancestors", level as u32, 8, addr);
    }
}

pub(super) fn fill_css_set(to: &mut Fields<'_>, id: u64) {
    to.point("dfl_cgrp", ObjectKey::Cgroup(id));
}

pub(super) fn fill_kernfs(to: &mut Fields<'_>, id: u64) {
    let Some(cgroup) = to.tables().cgroups.get(id) else { return };
    to.set("id", id);
    to.string("name", cgroup.name.as_bytes());
    if cgroup.parent != 0 {
        // The member's name is the kernel's until 6.14, and after.
        to.point("parent", ObjectKey::Kernfs(cgroup.parent));
        to.point("__parent", ObjectKey::Kernfs(cgroup.parent));
    }
}
