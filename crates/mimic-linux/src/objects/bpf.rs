//! Maps and programs as `struct bpf_map`, `struct bpf_prog` and `struct bpf_prog_aux`.

use super::{Fields, ObjectKey};

/// Bytes of a name that are kept, with a NUL (`BPF_OBJ_NAME_LEN`).
const NAME_LEN: usize = 16;

pub(super) fn fill_map(to: &mut Fields<'_>, id: u32) {
    let Some(map) = to.tables().bpf_maps.get(id) else { return };
    for (member, value) in map.members() {
        to.set(member, value);
    }
    to.bytes("name", name(&map.name));
}

pub(super) fn fill_prog(to: &mut Fields<'_>, id: u32) {
    let Some(prog) = to.tables().bpf_progs.get(id) else { return };
    to.set("type", prog.prog_type.into());
    to.set("len", prog.len.into());
    to.set("gpl_compatible", 1);
    to.point("aux", ObjectKey::BpfProgAux(id));
}

pub(super) fn fill_prog_aux(to: &mut Fields<'_>, id: u32) {
    let Some(prog) = to.tables().bpf_progs.get(id) else { return };
    to.set("id", prog.id.into());
    to.set("refcnt.counter", 1);
    to.bytes("name", name(&prog.name));
    to.point("prog", ObjectKey::BpfProg(id));
}

/// A name as the kernel keeps it.
pub(crate) fn name(name: &str) -> &[u8] {
    let bytes = name.as_bytes();
    &bytes[..bytes.len().min(NAME_LEN - 1)]
}
