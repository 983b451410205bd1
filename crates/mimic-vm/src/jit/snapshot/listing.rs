//! Code as text that does not depend on where things are: places have labels, fields of the state and functions of Rust have names.

use crate::jit::backend::Finished;
use crate::jit::state::{JitState, Reason};
use crate::jit::{NO_ENTRY, runtime};
use crate::memory::Window;
use crate::process::State;
use crate::program::LoadedProgram;
use core::fmt::Write;
use core::mem::{offset_of, size_of};
use std::collections::BTreeMap;

/// A decoded instruction.
pub(super) struct Line {
    /// As the disassembler writes it; where it jumps is left out.
    pub(super) text: String,
    pub(super) len: u32,
    /// Where it jumps.
    pub(super) target: Option<u32>,
    /// It does not go on to the next one.
    pub(super) ends: bool,
    /// It loads a constant, or 16 bits of one: the register, the value, and at which bit it begins.
    pub(super) constant: Option<(String, u64, u32)>,
}

/// A machine's.
pub(super) trait Disassembler {
    /// The instruction at an offset. `bytes` begins there.
    fn line(&self, bytes: &[u8], at: u32) -> Line;
    /// How a field of the state is written, less the offset's number: what comes before and behind it.
    fn field(&self) -> (&'static str, &'static str);
}

/// What has a name.
pub(super) struct Known {
    fields: BTreeMap<usize, String>,
    addrs: BTreeMap<u64, String>,
}

impl Known {
    pub(super) fn new(program: &LoadedProgram) -> Known {
        let mut fields = BTreeMap::new();
        for reg in 0..11 {
            fields.insert(offset_of!(State, regs) + 8 * reg, format!("r{reg}"));
            let window = offset_of!(State, windows) + reg * size_of::<Window>();
            fields.insert(window + offset_of!(Window, start), format!("window{reg}.start"));
            for (at, size) in [1, 2, 4, 8].into_iter().enumerate() {
                fields
                    .insert(window + offset_of!(Window, reads) + 8 * at, format!("window{reg}.reads{size}"));
                fields.insert(
                    window + offset_of!(Window, writes) + 8 * at,
                    format!("window{reg}.writes{size}"),
                );
            }
        }
        fields.insert(offset_of!(State, pc), "pc".into());
        fields.insert(offset_of!(State, may_goto), "may_goto".into());
        macro_rules! jit {
            ($($field:ident)*) => {
                $(fields.insert(offset_of!(State, jit) + offset_of!(JitState, $field), stringify!($field).into());)*
            };
        }
        jit!(cage budget entry_sp last_frame machine code helper reason fault_ip);
        let mut addrs = BTreeMap::from([
            (runtime::helper as *const () as u64, "runtime::helper".to_string()),
            (runtime::plain as *const () as u64, "runtime::plain".into()),
            (runtime::lookup_4 as *const () as u64, "runtime::lookup_4".into()),
            (runtime::lookup_8 as *const () as u64, "runtime::lookup_8".into()),
            (runtime::lookup_16 as *const () as u64, "runtime::lookup_16".into()),
            (runtime::op as *const () as u64, "runtime::op".into()),
            (runtime::unwind as *const () as u64, "runtime::unwind".into()),
        ]);
        for helper in &program.helpers {
            addrs.insert(core::ptr::from_ref(helper).addr() as u64, format!("helper {}", helper.name));
        }
        Known { fields, addrs }
    }

    /// Puts names in place of offsets in the state.
    fn text(&self, line: &str, (before, behind): (&str, &str)) -> String {
        let Some(start) = line.find(before) else { return line.into() };
        let rest = &line[start + before.len()..];
        let Some(end) = rest.find(behind) else { return line.into() };
        let off = rest[..end].trim_start_matches("0x");
        let name = usize::from_str_radix(off, 16).ok().and_then(|off| self.fields.get(&off));
        match name {
            Some(name) => format!("{}[state.{name}{}", &line[..start], &rest[end..]),
            None => line.into(),
        }
    }
}

/// The code of a program's first ops, with what is put behind the program for them.
pub(super) fn listing(
    disassembler: &dyn Disassembler,
    finished: &Finished,
    starts: &[u32],
    ops: usize,
    known: &Known,
) -> String {
    let (first, next) = (starts[0], starts[ops]);
    debug_assert_ne!(next, NO_ENTRY);
    let mut lines = BTreeMap::new();
    let mut waiting = vec![first];
    // All that it leads to, up to the next op and the ways out.
    while let Some(mut at) = waiting.pop() {
        while !lines.contains_key(&at) && at != next && at < finished.enter {
            let line = disassembler.line(&finished.code[at as usize..], at);
            let (len, ends) = (line.len, line.ends);
            waiting.extend(line.target);
            // What a jump back goes around is part of it all the same.
            let ends = ends && !(first..next).contains(&(at + len));
            lines.insert(at, line);
            at += len;
            if ends {
                break;
            }
        }
    }
    let mut labels = BTreeMap::from([(next, "next".to_string())]);
    let targets: std::collections::BTreeSet<u32> = lines.values().filter_map(|line| line.target).collect();
    for target in targets.into_iter().filter(|target| *target != next) {
        let name = match target >= finished.enter {
            true => way_out(disassembler, finished, target, known),
            false => format!("L{}", labels.values().filter(|name| name.starts_with('L')).count()),
        };
        labels.insert(target, name);
    }
    write(disassembler, &lines, &labels, known)
}

/// The ways in and out.
pub(super) fn listing_of_ways(disassembler: &dyn Disassembler, finished: &Finished, known: &Known) -> String {
    let (mut lines, mut at) = (BTreeMap::new(), finished.enter);
    while (at as usize) < finished.code.len() {
        let line = disassembler.line(&finished.code[at as usize..], at);
        at += line.len;
        lines.insert(at - line.len, line);
    }
    let mut labels = BTreeMap::from([
        (finished.enter, "enter".to_string()),
        (finished.resume, "resume".into()),
        (finished.faulted, "faulted".into()),
    ]);
    for target in lines.values().filter_map(|line| line.target).collect::<std::collections::BTreeSet<_>>() {
        let count = labels.len();
        labels
            .entry(target)
            .or_insert_with(|| if target < finished.enter { "main".into() } else { format!("W{count}") });
    }
    write(disassembler, &lines, &labels, known)
}

/// The name of a way out, by what it does.
fn way_out(disassembler: &dyn Disassembler, finished: &Finished, target: u32, known: &Known) -> String {
    let mut at = target;
    for _ in 0..4 {
        let line = disassembler.line(&finished.code[at as usize..], at);
        let text = known.text(&line.text, disassembler.field());
        if text.contains("[state.r0") {
            return "rust".into();
        }
        // Both machines have the number before anything else that is one.
        let number = line.constant.map(|(_, value, _)| value);
        let stored = text.contains("[state.reason").then(|| text.rsplit_once(',')).flatten();
        let stored = stored.and_then(|(_, imm)| imm.trim().parse().ok());
        if let Some(number) = number.or(stored) {
            return format!("leave({:?})", Reason::from_number(number));
        }
        at += line.len;
    }
    "elsewhere".into()
}

fn write(
    disassembler: &dyn Disassembler,
    lines: &BTreeMap<u32, Line>,
    labels: &BTreeMap<u32, String>,
    known: &Known,
) -> String {
    let mut text = String::new();
    let mut end = None;
    let mut all = lines.iter().peekable();
    while let Some((at, line)) = all.next() {
        if end.is_some_and(|end| end != *at) {
            text += "    …\n";
        }
        end = Some(at + line.len);
        if let Some(label) = labels.get(at) {
            writeln!(text, "  {label}:").expect("it is a string");
        }
        // A constant is put together in several steps.
        if let Some((reg, value, 0)) = &line.constant {
            let mut value = *value;
            while let Some((at, more)) = all.peek()
                && let Some((same, bits, shift @ 1..)) = &more.constant
                && same == reg
            {
                value = value & !(0xffff << shift) | bits << shift;
                end = Some(*at + more.len);
                all.next();
            }
            let named = known.addrs.get(&value).cloned().unwrap_or_else(|| format!("{value:#x}"));
            writeln!(text, "    mov {reg}, {named}").expect("it is a string");
            continue;
        }
        let written = known.text(&line.text, disassembler.field());
        match line.target {
            Some(target) => writeln!(text, "    {written}{}", labels[&target]),
            None => writeln!(text, "    {written}"),
        }
        .expect("it is a string");
    }
    text
}
