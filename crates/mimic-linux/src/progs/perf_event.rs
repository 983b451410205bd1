//! `PerfEventContext`: what programs of perf events get when one overflows: `struct bpf_perf_event_data`, and the event's counter.

use mimic_abi::{CtxAccess, CtxField, CtxLayout, Errno, Size};
use mimic_vm::memory::Layout;
use mimic_vm::{Context, ContextError, Setup};

/// A counter, as perf_event_open(2) has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Its value.
    pub counter: u64,
    /// How long it was enabled, in nanoseconds.
    pub enabled_ns: u64,
    /// How long it ran, in nanoseconds.
    pub running_ns: u64,
}

impl Counter {
    /// Bytes of a `struct bpf_perf_event_value`.
    pub(crate) const LEN: u64 = 24;

    pub(crate) fn words(self) -> [u64; 3] {
        [self.counter, self.enabled_ns, self.running_ns]
    }
}

/// A branch that the CPU has recorded: `struct perf_branch_entry`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Branch {
    /// The branch.
    pub from: u64,
    /// Where it went.
    pub to: u64,
    /// Bit-fields: mispredicted, predicted, in a transaction, and so on.
    pub flags: u64,
}

impl Branch {
    /// Bytes of a `struct perf_branch_entry`.
    pub(crate) const LEN: u64 = 24;

    pub(crate) fn words(self) -> [u64; 3] {
        [self.from, self.to, self.flags]
    }
}

/// What perf_event programs get, on x86-64. They can only read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerfEventContext {
    /// The registers, in the order of `struct pt_regs`: r15 first, ss last.
    pub regs: [u64; PerfEventContext::REGS],
    /// The event's period.
    pub sample_period: u64,
    /// The address that the sample is about.
    pub addr: u64,
    /// The event's counter, which `bpf_perf_prog_read_value` reads.
    pub counter: Counter,
    /// The branches that were sampled with it; none if the event samples none.
    pub branches: Option<Vec<Branch>>,
}

impl PerfEventContext {
    /// Registers of x86-64.
    pub const REGS: usize = 21;
    /// Bytes of the context.
    const LEN: u32 = 8 * (PerfEventContext::REGS as u32 + 2);
}

const REG_NAMES: [&str; PerfEventContext::REGS] = [
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi",
    "orig_rax", "rip", "cs", "eflags", "rsp", "ss",
];

static FIELDS: [CtxField; PerfEventContext::REGS + 2] = fields();

/// `bpf_perf_event_data` of x86-64: registers are read whole.
pub(super) const LAYOUT: CtxLayout =
    CtxLayout { name: "bpf_perf_event_data", size: PerfEventContext::LEN, fields: &FIELDS };

const fn fields() -> [CtxField; PerfEventContext::REGS + 2] {
    let blank = CtxField { name: "", off: 0, size: 8, access: CtxAccess::Read };
    let mut fields = [blank; PerfEventContext::REGS + 2];
    let mut at = 0;
    while at < PerfEventContext::REGS {
        let (name, off) = (REG_NAMES[at], 8 * at as u32);
        fields[at] = CtxField { name, off, size: 8, access: CtxAccess::ReadWhole };
        at += 1;
    }
    fields[at] = CtxField { name: "sample_period", off: 8 * at as u32, ..blank };
    fields[at + 1] = CtxField { name: "addr", off: 8 * at as u32 + 8, ..blank };
    fields
}

impl Context for PerfEventContext {
    fn enter(&mut self, setup: &mut Setup<'_>) -> Result<[u64; 5], ContextError> {
        const BRANCHES_MAX: usize = 1 << 16;
        if self.branches.as_ref().is_some_and(|branches| branches.len() > BRANCHES_MAX) {
            let why = format!("a sample has {BRANCHES_MAX} branches at most");
            return Err(ContextError::Errno(Errno::E2BIG, why));
        }
        let region = setup.region("context", PerfEventContext::LEN, Layout::Fields(LAYOUT))?;
        region.set_bounds(0, PerfEventContext::LEN);
        for (at, value) in self.regs.iter().chain([&self.sample_period, &self.addr]).enumerate() {
            region.store(8 * at as u32, Size::Dw, *value);
        }
        Ok([region.base(), 0, 0, 0, 0])
    }
}
