//! What the generator knows of registers and stack at a point of the program: enough to write only what the verifier
//! accepts, and much less than the verifier knows.

use mimic_abi::Reg;

/// What a register or a spill slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing that may be read.
    Unknown,
    /// Any number.
    Scalar,
    /// The start of an object plus `at` bytes.
    Ptr(Object, i16),
}

/// Something to point at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Object {
    /// The scratch area of the running function's own stack frame.
    Frame,
    /// The beginning of a caller's scratch area.
    Caller,
    /// A value of the map with this index.
    Value(usize),
    /// The packet, as much of it as was checked.
    Packet,
    /// The context: kept for calls that want it, never accessed by offset.
    Ctx,
}

/// Registers r0 to r9 and the spill slots.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) regs: [Kind; 10],
    pub(super) spills: [Kind; SPILLS],
}

/// How many spill slots a frame has.
pub(super) const SPILLS: usize = 2;

impl State {
    pub(super) fn empty() -> State {
        State { regs: [Kind::Unknown; 10], spills: [Kind::Unknown; SPILLS] }
    }

    pub(super) fn kind(&self, reg: Reg) -> Kind {
        if reg == Reg::R10 { Kind::Ptr(Object::Frame, 0) } else { self.regs[reg.index()] }
    }

    pub(super) fn set(&mut self, reg: Reg, kind: Kind) {
        self.regs[reg.index()] = kind;
    }

    /// The registers among `of` that hold a number.
    pub(super) fn scalars(&self) -> Vec<Reg> {
        writable().filter(|reg| self.kind(*reg) == Kind::Scalar).collect()
    }

    /// The registers that point at something, the frame pointer included.
    pub(super) fn pointers(&self) -> Vec<(Reg, Object, i16)> {
        let pointer = |reg| match self.kind(reg) {
            Kind::Ptr(object, at) => Some((reg, object, at)),
            Kind::Unknown | Kind::Scalar => None,
        };
        Reg::all().filter_map(pointer).collect()
    }

    /// A call leaves r1 to r5 unreadable.
    pub(super) fn clobber(&mut self) {
        self.regs[1..=5].fill(Kind::Unknown);
    }

    /// Forgets what matches `stale`.
    pub(super) fn forget(&mut self, stale: impl Fn(Object) -> bool) {
        for kind in self.regs.iter_mut().chain(&mut self.spills) {
            if matches!(kind, Kind::Ptr(object, _) if stale(*object)) {
                *kind = Kind::Unknown;
            }
        }
    }

    /// What holds on both of two ways that come together.
    pub(super) fn meet(&mut self, other: &State) {
        let ours = self.regs.iter_mut().chain(&mut self.spills);
        for (ours, theirs) in ours.zip(other.regs.iter().chain(&other.spills)) {
            if ours != theirs {
                *ours = Kind::Unknown;
            }
        }
    }
}

/// r0 to r9.
pub(super) fn writable() -> impl Iterator<Item = Reg> {
    Reg::all().filter(|reg| *reg != Reg::R10)
}
