//! Streams: text that programs write for whoever loaded them. Documentation/bpf/ has it at `BPF_PROG_STREAM_READ_BY_FD`.

use crate::Linux;
use crate::helpers::print;
use mimic_abi::{ArgType, Errno, HelperSpec, MemAccess, MemLen, Support, arg};
use mimic_vm::{Call, Helper, HelperResult};

pub(super) const ROWS: &[Helper] = &[Helper::new(
    HelperSpec::new(0, "bpf_stream_vprintk_impl")
        .args(&[
            arg("stream_id", ArgType::Anything),
            arg("fmt__str", ArgType::ConstStr),
            arg("args", ArgType::Mem(MemAccess::Read, MemLen::NextArg)),
            arg("len__sz", ArgType::SizeOrZero),
            arg("aux__prog", ArgType::Anything),
        ])
        .since(6, 17)
        .support(Support::Partial("both streams go to the trace output, in lines of their own")),
    vprintk,
)];

/// `BPF_STDOUT` and `BPF_STDERR`.
const STREAMS: core::ops::RangeInclusive<u32> = 1..=2;

fn vprintk(call: &mut Call<'_>, stream: u64, fmt: u64, args: u64, len: u64, _: u64) -> HelperResult {
    let int = |errno: Errno| Ok(u64::from(-errno.0 as u32));
    if !STREAMS.contains(&(stream as u32)) {
        return int(Errno::ENOENT);
    }
    match print::stream_text(call, fmt, args, len) {
        Ok(text) => {
            Linux::of(call).print_trace(call.cpu(), &text);
            Ok(0)
        }
        Err(mimic_vm::Trap::Errno(errno)) => int(errno),
        Err(trap) => Err(trap),
    }
}
