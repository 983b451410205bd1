//! Types of programs whose sections say nothing (`from-netdev`, `2/7`, `.text`), told by what else is in the object.
//!
//! Loaders like iproute2's know the type from elsewhere: they load for a tc filter, or for XDP. Programs of one object are mostly of one
//! type, and helpers tell packets' types apart. Where nothing tells, there is no type, and who loads the program has to give one.

use crate::code::Code;
use crate::program::ProgramSpec;
use mimic_abi::{Callee, Insn, ProgType};

/// Helpers that only XDP programs have: adjust_head, adjust_meta, adjust_tail, get_buff_len, load_bytes, store_bytes.
const XDP: &[u32] = &[44, 54, 65, 188, 189, 190];
/// Helpers that tc programs have and socket filters do not: store_bytes, checksums, clone_redirect, VLAN, tunnels, realm, change_proto and
/// _type, under_cgroup, hashes, change_tail and _head, pull_data, adjust_room, ecn_set_ce, set_tstamp, redirect_neigh and _peer.
const TC: &[u32] = &[
    9, 10, 11, 13, 18, 19, 20, 21, 24, 29, 30, 31, 32, 33, 34, 38, 39, 40, 41, 42, 43, 48, 50, 97, 152, 155,
    192,
];

/// Gives types to the programs that have none. `for_tc`: the object's maps are of the kind that iproute2 defined.
pub(crate) fn guess_types(programs: &mut [ProgramSpec], code: &Code, for_tc: bool) {
    if programs.iter().all(|program| program.sec.prog_type.is_some()) {
        return;
    }
    let told: Vec<Option<ProgType>> = programs.iter().map(|program| by_code(program, code)).collect();
    let said = programs.iter().zip(&told).filter_map(|(program, told)| program.sec.prog_type.or(*told));
    let of_object = only(said);
    let last = for_tc.then_some(ProgType::SchedCls);
    for (program, told) in programs.iter_mut().zip(told) {
        if program.sec.prog_type.is_none() {
            program.sec.prog_type = told.or(of_object).or(last);
            program.sec.loose = program.sec.prog_type.is_some();
        }
    }
}

/// The type that all are of.
fn only(mut types: impl Iterator<Item = ProgType>) -> Option<ProgType> {
    let first = types.next()?;
    types.all(|other| other == first).then_some(first)
}

/// What a program's own instructions tell.
fn by_code(program: &ProgramSpec, code: &Code) -> Option<ProgType> {
    let func = code.funcs.get(program.func)?;
    let insns = &code.sections.get(func.section)?.insns;
    let mut loads_packet = false;
    let mut pc = func.start as usize;
    while pc < func.end as usize {
        let insn = Insn::decode(insns.get(pc..)?).ok()?;
        match insn {
            Insn::Call(Callee::Helper(id)) if XDP.contains(&id) => return Some(ProgType::Xdp),
            Insn::Call(Callee::Helper(id)) if TC.contains(&id) => return Some(ProgType::SchedCls),
            Insn::Packet { .. } => loads_packet = true,
            _ => {}
        }
        pc += insn.slots();
    }
    loads_packet.then_some(ProgType::SocketFilter)
}
