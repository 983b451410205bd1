//! Legacy packet loads, `BPF_ABS` and `BPF_IND`: what they read of a socket buffer. See the section on legacy packet access of RFC 9669
//! and `filter.txt` of the kernel's documentation.

use super::SkbContext;
use crate::net::wrong_context;
use mimic_abi::{ProgType, Size};
use mimic_vm::{Call, HelperResult, Trap};

/// A legacy packet load of the program types that have packets: the number in network order, as the host's. Beyond the packet the program
/// ends and returns 0.
pub fn packet_load(call: &mut Call<'_>, off: i64, size: Size) -> HelperResult {
    let prog_type = call.program().linked().prog_type;
    if let Some(other) = prog_type
        && !matches!(other, ProgType::SocketFilter | ProgType::SchedCls | ProgType::SchedAct)
    {
        return Err(call.bad_argument(format!(
            "{} programs cannot use legacy packet loads; socket filters and tc programs can",
            other.word()
        )));
    }
    let r6 = call.reg(6);
    let Some(buff) = call.context::<SkbContext>().and_then(SkbContext::buff_mut) else {
        return Err(wrong_context(call, "socket buffer"));
    };
    if r6 != buff.md.base() {
        let what = format!("legacy packet loads want the context in r6, which holds {r6:#x}");
        return Err(call.bad_argument(what));
    }
    let mut bytes = [0; 8];
    let len = size.bytes();
    let there = buff.classic_off(off as i32).is_some_and(|off| buff.read_signed(off, &mut bytes[..len]));
    if !there {
        return Err(Trap::ExitProgram(0));
    }
    Ok(u64::from_be_bytes(bytes) >> (64 - 8 * len as u32))
}
