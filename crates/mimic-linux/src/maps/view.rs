//! What programs read through a pointer to a map: `struct bpf_map` as the kernel's BTF lays it out, filled with what its creator knows.

use crate::objects;
use crate::world::BpfMapInfo;
use mimic_abi::ByteOrder;
use mimic_abi::btf::{Btf, KindCode};
use mimic_object::MapSpec;

/// The most bytes that are shown, and those that are of a structure whose layout is not known.
const VIEW_LEN_MAX: u32 = 512;

/// The structure's bytes. Members that the world does not know are zero: all, where the kernel's types do not have it.
pub(crate) fn view(btf: Option<&Btf>, spec: &MapSpec, id: u32) -> Vec<u8> {
    let ty = btf.and_then(|btf| Some((btf, btf.find("bpf_map", KindCode::Struct)?.id)));
    let Some((btf, ty)) = ty else { return vec![0; VIEW_LEN_MAX as usize] };
    let mut view = vec![0; btf.size_of(ty).unwrap_or(0).min(VIEW_LEN_MAX) as usize];
    let mut put = |path: &str, value: &[u8]| {
        let place = objects::member(btf, "bpf_map", path).filter(|(off, _)| off % 8 == 0);
        let Some((off, len)) = place.map(|(off, len)| ((off / 8) as usize, len as usize)) else { return };
        let len = len.min(value.len());
        if let Some(to) = view.get_mut(off..off + len) {
            // A number's low bytes are its last ones in big-endian.
            to.copy_from_slice(match btf.byte_order() {
                ByteOrder::Big if path != "name" => &value[value.len() - len..],
                ByteOrder::Big | ByteOrder::Little => &value[..len],
            });
        }
    };
    let map = BpfMapInfo::of(id, spec);
    for (member, value) in map.members() {
        match btf.byte_order() {
            ByteOrder::Little => put(member, &value.to_le_bytes()),
            ByteOrder::Big => put(member, &value.to_be_bytes()),
        }
    }
    put("name", objects::kept_name(&map.name));
    view
}
