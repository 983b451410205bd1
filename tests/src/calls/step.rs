//! The text of a program in the making: r6 is the context, r9 the notes, 256 bytes below fp-16 are a buffer.

use mimic_abi::ProgType;

use super::NOTES_LEN;
use crate::random::Rng;

/// The statements so far.
pub(super) struct Steps {
    pub(super) rng: Rng,
    pub(super) prog_type: ProgType,
    text: String,
    /// Statements since the last note.
    since: String,
    notes: Vec<(usize, String)>,
    next_note: usize,
    labels: usize,
    verdict: u64,
}

/// Bytes of the buffer on the stack.
pub(super) const BUFFER_LEN: usize = 256;
/// Its address, below r10.
pub(super) const BUFFER: i32 = -272;

impl Steps {
    /// Begins a program: it counts its runs in the first note, and fills its buffer.
    pub(super) fn new(mut rng: Rng, prog_type: ProgType) -> Steps {
        let mut text = String::from(
            "r6 = r1; *(u32 *)(r10 - 4) = 0; r2 = r10; r2 += -4; r1 = map[idx:0]; call 1\n\
             if r0 == 0 goto out; r1 = *(u64 *)(r0 + 0); r1 += 1; *(u64 *)(r0 + 0) = r1; *(u32 *)(r10 - 4) = r1\n\
             r2 = r10; r2 += -4; r1 = map[idx:0]; call 1; if r0 == 0 goto out; r9 = r0\n",
        );
        for off in (0..BUFFER_LEN as i32).step_by(8) {
            text.push_str(&format!("r1 = {} ll; *(u64 *)(r10 {}) = r1\n", rng.bits() as i64, BUFFER + off));
        }
        let verdict = match prog_type {
            ProgType::CgroupSkb => rng.below(2),
            _ => rng.below(5),
        };
        Steps {
            rng,
            prog_type,
            text,
            since: String::new(),
            notes: vec![(0, "the beginning".into())],
            next_note: 0,
            labels: 0,
            verdict: verdict as u64,
        }
    }

    /// Adds statements.
    pub(super) fn add(&mut self, statements: &str) {
        self.text.push_str(statements);
        self.text.push('\n');
        self.since.push_str(statements);
        self.since.push_str("; ");
    }

    /// Writes a register down.
    pub(super) fn note(&mut self, reg: &str) {
        if self.next_note + 8 > NOTES_LEN {
            return;
        }
        self.text.push_str(&format!("*(u64 *)(r9 + {}) = {reg}\n", self.next_note));
        self.notes.push((self.next_note, std::mem::take(&mut self.since)));
        self.next_note += 8;
    }

    /// Writes the buffer's first bytes down.
    pub(super) fn note_buffer(&mut self, len: usize) {
        let what =
            format!("{}the buffer", self.notes.last().map(|(_, what)| what.as_str()).unwrap_or_default());
        for off in (0..len.min(BUFFER_LEN)).step_by(8) {
            self.text.push_str(&format!("r1 = *(u64 *)(r10 {})\n", BUFFER + off as i32));
            self.since = if off == 0 { what.clone() } else { format!("{what}+{off}") };
            self.note("r1");
        }
        self.since.clear();
    }

    /// Calls a helper with the context and these arguments, and writes its answer down.
    pub(super) fn call(&mut self, id: u32, args: &[i64]) {
        let mut statements = String::from("r1 = r6");
        for (at, arg) in args.iter().enumerate() {
            let suffix = if i32::try_from(*arg).is_ok() { "" } else { " ll" };
            statements.push_str(&format!("; r{} = {arg}{suffix}", at + 2));
        }
        statements.push_str(&format!("; call {id}"));
        self.add(&statements);
        self.note("r0");
    }

    /// As `call`, with the buffer as the argument `at` (2 is r2), after the others.
    pub(super) fn call_with_buffer(&mut self, id: u32, at: usize, args: &[(usize, i64)]) {
        let mut statements = String::from("r1 = r6");
        for (at, arg) in args {
            let suffix = if i32::try_from(*arg).is_ok() { "" } else { " ll" };
            statements.push_str(&format!("; r{at} = {arg}{suffix}"));
        }
        statements.push_str(&format!("; r{at} = r10; r{at} += {BUFFER}; call {id}"));
        self.add(&statements);
        self.note("r0");
    }

    /// A label of its own.
    pub(super) fn label(&mut self) -> String {
        self.labels += 1;
        format!("l{}", self.labels)
    }

    /// Loads or stores packet bytes by a pointer: `data` and `end` are the context's fields.
    pub(super) fn direct(&mut self, data: i32, end: i32, may_write: bool) {
        let label = self.label();
        let off = self.rng.pick(&[0, 12, 14, 16, 20, 23, 30, 34, 40, 46, 54]);
        let (size, bytes) = self.rng.pick(&[("u8", 1), ("u16", 2), ("u32", 4), ("u64", 8)]);
        self.add(&format!(
            "r0 = -1; r2 = *(u32 *)(r6 + {data}); r3 = *(u32 *)(r6 + {end}); r4 = r2; r4 += {}; if r4 > r3 goto {label}",
            off + bytes
        ));
        self.add(&format!("r0 = *({size} *)(r2 + {off})"));
        if may_write && self.rng.chance(40) {
            let value = self.rng.imm();
            self.add(&format!("*({size} *)(r2 + {off}) = {value}"));
        }
        self.add(&format!("{label}:"));
        self.note("r0");
        self.add(&format!("r2 = *(u32 *)(r6 + {data}); r3 = *(u32 *)(r6 + {end}); r3 -= r2"));
        self.note("r3");
    }

    /// Writes a context field down.
    pub(super) fn field(&mut self, size: &str, off: i32) {
        self.add(&format!("r0 = *({size} *)(r6 + {off})"));
        self.note("r0");
    }

    /// Ends the program; its text, and what its notes are.
    pub(super) fn finish(mut self) -> (String, Vec<(usize, String)>) {
        self.text.push_str(&format!("out: r0 = {}; exit\n", self.verdict));
        (self.text, self.notes)
    }

    /// Mostly one of the usual values, seldom any.
    pub(super) fn usual(&mut self, values: &[i64]) -> i64 {
        if self.rng.chance(93) { self.rng.pick(values) } else { self.rng.value() as i64 }
    }
}
