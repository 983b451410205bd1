//! What programs read through a pointer to a map: `struct bpf_map` as the kernel's BTF lays it out, filled with what its creator knows.

use mimic_abi::ByteOrder;
use mimic_abi::btf::{Btf, KindCode, TypeId};
use mimic_object::MapSpec;

/// The most bytes that are shown.
const VIEW_LEN_MAX: u32 = 512;

/// The structure's bytes; none if the kernel's types do not have it. Members that are not told here are zero.
pub(crate) fn view(btf: &Btf, spec: &MapSpec, id: u32) -> Vec<u8> {
    let Some(ty) = btf.find("bpf_map", KindCode::Struct) else { return Vec::new() };
    let len = btf.size_of(ty.id).unwrap_or(0).min(VIEW_LEN_MAX);
    let mut view = View { btf, ty: ty.id, bytes: vec![0; len as usize] };
    view.set("map_type", spec.map_type.into());
    view.set("key_size", spec.key_size.into());
    view.set("value_size", spec.value_size.into());
    view.set("max_entries", spec.max_entries.into());
    view.set("map_extra", spec.map_extra);
    view.set("map_flags", spec.map_flags.into());
    view.set("id", id.into());
    // NUMA_NO_NODE is -1.
    view.set("numa_node", spec.numa_node.map_or(u64::MAX, u64::from));
    view.bytes("name", spec.name.as_bytes());
    view.bytes
}

struct View<'a> {
    btf: &'a Btf,
    ty: TypeId,
    bytes: Vec<u8>,
}

impl View<'_> {
    /// Sets a number of any size; a kernel that lacks the member goes without.
    fn set(&mut self, name: &str, value: u64) {
        let (little, big) = (value.to_le_bytes(), value.to_be_bytes());
        let order = self.btf.byte_order();
        let Some(place) = self.place(name) else { return };
        let len = place.len().min(8);
        place[..len].copy_from_slice(match order {
            ByteOrder::Little => &little[..len],
            ByteOrder::Big => &big[8 - len..],
        });
    }

    /// Sets a string, which ends with a zero.
    fn bytes(&mut self, name: &str, text: &[u8]) {
        let Some(place) = self.place(name) else { return };
        let len = text.len().min(place.len().saturating_sub(1));
        place[..len].copy_from_slice(&text[..len]);
    }

    fn place(&mut self, name: &str) -> Option<&mut [u8]> {
        let member = self.btf.member(self.ty, name)?;
        let (off, len) = (member.bit_off as usize / 8, self.btf.size_of(member.ty)? as usize);
        self.bytes.get_mut(off..off.checked_add(len)?)
    }
}
