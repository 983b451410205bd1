//! The row type of program types: context, attach types, what return values mean, since when, and how well each is supported.
//!
//! A row is data. The names of ELF sections that make a program one of a type are the object reader's; helpers that a type may call
//! are the platform's. Mirrors `struct bpf_verifier_ops` and `struct bpf_prog_ops` as far as they are data.

use crate::{AttachType, CtxLayout, KernelVersion, ProgType, Support};

/// One program type.
#[derive(Clone, Copy, Debug)]
pub struct ProgTypeSpec {
    /// The type.
    pub prog_type: ProgType,
    /// One line that says what such a program sees and decides.
    pub about: &'static str,
    /// What `expected_attach_type` may be; empty if nothing but 0.
    pub attach_types: &'static [AttachType],
    /// What r1 points at, when that is a structure with rules of its own. None for plain bytes, arguments and kernel objects.
    pub context: Option<CtxLayout>,
    /// Layouts that replace `context` for some attach types.
    pub contexts: &'static [(AttachType, CtxLayout)],
    /// What a program may do with the packet through pointers.
    pub packet: Packet,
    /// What r0 means when the program returns.
    pub returns: Returns,
    /// The values that r0 may have (its low half, signed); none if it may be any.
    pub range: Option<RetRange>,
    /// Ranges that replace `range` for some attach types.
    pub ranges: &'static [(AttachType, Option<RetRange>)],
    /// `BPF_PROG_TEST_RUN` runs such programs.
    pub test_run: bool,
    /// The release that brought it.
    pub since: KernelVersion,
    /// How much of it mimic does.
    pub support: Support,
}

impl ProgTypeSpec {
    /// A fully supported row without context structure, packet or test-run, whose return values have no names.
    pub const fn new(prog_type: ProgType, about: &'static str) -> ProgTypeSpec {
        ProgTypeSpec {
            prog_type,
            about,
            attach_types: &[],
            context: None,
            contexts: &[],
            packet: Packet::None,
            returns: Returns::Number,
            range: None,
            ranges: &[],
            test_run: false,
            since: KernelVersion::new(3, 19),
            support: Support::Full,
        }
    }

    /// Sets the attach types.
    pub const fn attach(mut self, types: &'static [AttachType]) -> ProgTypeSpec {
        self.attach_types = types;
        self
    }

    /// Sets the context structure.
    pub const fn context(mut self, layout: CtxLayout) -> ProgTypeSpec {
        self.context = Some(layout);
        self
    }

    /// Sets the layouts of attach types that differ from the rest.
    pub const fn contexts(mut self, layouts: &'static [(AttachType, CtxLayout)]) -> ProgTypeSpec {
        self.contexts = layouts;
        self
    }

    /// Sets what pointers into the packet may do.
    pub const fn packet(mut self, packet: Packet) -> ProgTypeSpec {
        self.packet = packet;
        self
    }

    /// Sets what return values mean.
    pub const fn returns(mut self, returns: Returns) -> ProgTypeSpec {
        self.returns = returns;
        self
    }

    /// Sets the values that r0 may have.
    pub const fn range(mut self, min: i32, max: i32) -> ProgTypeSpec {
        self.range = Some(RetRange { min, max });
        self
    }

    /// Sets the ranges of attach types that differ from the rest.
    pub const fn ranges(mut self, ranges: &'static [(AttachType, Option<RetRange>)]) -> ProgTypeSpec {
        self.ranges = ranges;
        self
    }

    /// Says that `BPF_PROG_TEST_RUN` runs it.
    pub const fn test_run(mut self) -> ProgTypeSpec {
        self.test_run = true;
        self
    }

    /// Sets the release that brought it.
    pub const fn since(mut self, major: u16, minor: u16) -> ProgTypeSpec {
        self.since = KernelVersion::new(major, minor);
        self
    }

    /// Sets the support level.
    pub const fn support(mut self, support: Support) -> ProgTypeSpec {
        self.support = support;
        self
    }

    /// The context structure of a program with this attach type.
    pub fn layout(&self, attach_type: Option<AttachType>) -> Option<CtxLayout> {
        let special = self.contexts.iter().find(|(known, _)| Some(*known) == attach_type);
        special.map(|(_, layout)| *layout).or(self.context)
    }

    /// The values that r0 of a program with this attach type may have; none if any.
    pub fn ret_range(&self, attach_type: Option<AttachType>) -> Option<RetRange> {
        let special = self.ranges.iter().find(|(known, _)| Some(*known) == attach_type);
        special.map_or(self.range, |(_, range)| *range)
    }
}

/// Return values that the kernel's verifier allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetRange {
    /// The least.
    pub min: i32,
    /// The greatest.
    pub max: i32,
}

impl RetRange {
    /// The values from `min` to `max`.
    pub const fn new(min: i32, max: i32) -> RetRange {
        RetRange { min, max }
    }

    /// Whether r0 may be this: its low half counts.
    pub fn has(self, r0: u64) -> bool {
        (self.min..=self.max).contains(&(r0 as i32))
    }
}

/// What a program may do with the packet through pointers that its context gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// There is none, or no pointer to it.
    None,
    /// Read it.
    Read,
    /// Read and write it.
    ReadWrite,
}

/// What r0 means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returns {
    /// A number of the hook's own.
    Number,
    /// Bytes of the packet to keep; 0 drops it.
    Length,
    /// A verdict: the numbers (r0's low half, signed) and their names, by rising number.
    Verdict(&'static [(i32, &'static str)]),
}

impl Returns {
    /// The name of a return value, if it has one.
    pub fn name(self, retval: u32) -> Option<&'static str> {
        match self {
            Returns::Number | Returns::Length => None,
            Returns::Verdict(names) => {
                names.iter().find(|(number, _)| *number == retval as i32).map(|(_, name)| *name)
            }
        }
    }
}
