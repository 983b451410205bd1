//! What each instruction form becomes on each machine, as disassemblers that are not ours read it, against files in the machines' folders.
//!
//! Runs on any machine with a JIT, for all of them. `MIMIC_BLESS=1` writes the files anew.

mod arm;
mod forms;
mod listing;
mod x86;

use super::aarch64::AArch64;
use super::backend::{Backend, Reach};
use super::translate::translate;
use super::x86_64::X86_64;
use super::{Checks, Mode};
use crate::{Emulator, Helper, LoadedProgram, Vm};
use core::fmt::Write;
use forms::{Form, forms};
use listing::{Disassembler, Known, listing, listing_of_ways};
use mimic_abi::asm::assemble;
use mimic_abi::{ByteOrder, CtxAccess, CtxField, CtxLayout, HelperSpec};
use mimic_object::Program;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A helper, so that there is one to call.
struct One;

const ROWS: &[Helper] = &[Helper::new(HelperSpec::new(1, "one"), |_, _, _, _, _, _| Ok(1))];

impl Emulator for One {
    fn helper(&self, id: u32) -> Option<&Helper> {
        ROWS.iter().find(|row| row.spec.id == id)
    }
}

/// A context with a field that programs may read and write, and one that they may read.
const CTX: CtxLayout = CtxLayout {
    name: "context",
    size: 8,
    fields: &[
        CtxField { name: "both", off: 0, size: 4, access: CtxAccess::ReadWrite },
        CtxField { name: "read", off: 4, size: 4, access: CtxAccess::Read },
    ],
};

/// Programs whose ways in and out are listed, after everything else.
const WAYS: [(&str, &str); 2] = [
    ("ways in and out", "r6 = 1; r7 = 1; r8 = 1; r9 = 1; *(u64 *)(r10 - 8) = r6"),
    ("ways in and out of a program that does next to nothing", "r0 = 1"),
];

fn load(vm: &Arc<Vm>, text: &str) -> (Arc<LoadedProgram>, usize) {
    let code = assemble(&format!("{text}\nexit"), &()).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
    let ops = assemble(text, &()).map_or(0, |assembly| assembly.slots.len());
    let wide = code.slots.iter().filter(|slot| slot.opcode == 0x18).count();
    let program = vm.add(Program::from_code("form", code.slots, ByteOrder::NATIVE), &[]).expect("it loads");
    (program, ops - wide)
}

/// The listing of all forms for a machine: a section for each, sorted.
fn snapshot<B: Backend>(disassembler: &dyn Disassembler, new: impl Fn() -> B, forms: &[Form]) -> String {
    let vm = Vm::builder(One).build().expect("address space");
    let mut sections = BTreeMap::new();
    for form in forms {
        let (program, ops) = load(&vm, &form.text);
        let mode = Mode {
            checks: form.checks,
            ctx: form.ctx.then_some(CTX),
            watched: false,
            frames_outside: form.frames_outside,
        };
        let made = translate(&program, &mode, new()).unwrap_or_else(|_| panic!("{}: too long", form.text));
        let known = Known::new(&program);
        let text = listing(disassembler, &made.finished, &made.starts, ops, &known);
        assert!(sections.insert(form.name(), text).is_none(), "two of {}", form.name());
    }
    for (name, text) in WAYS {
        let (program, _) = load(&vm, text);
        let mode = Mode { checks: Checks::Cage, ctx: None, watched: false, frames_outside: false };
        let made = translate(&program, &mode, new()).unwrap_or_else(|_| panic!("{text}: too long"));
        let known = Known::new(&program);
        sections.insert(format!("~ {name}"), listing_of_ways(disassembler, &made.finished, &known));
    }
    let mut all = String::new();
    for (name, text) in sections {
        write!(all, "== {}\n{text}\n", name.trim_start_matches("~ ")).expect("it is a string");
    }
    all
}

fn check(file: &str, got: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/jit").join(file);
    if std::env::var_os("MIMIC_BLESS").is_some() {
        std::fs::write(&path, got).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let differ = expected.lines().zip(got.lines()).enumerate().find(|(_, (is, was))| is != was);
    if let Some((line, (expected, got))) = differ {
        panic!("{file}:{}: {got:?}, not {expected:?}; MIMIC_BLESS=1 writes it anew", line + 1);
    }
    assert_eq!(expected.len(), got.len(), "{file} has another length; MIMIC_BLESS=1 writes it anew");
}

#[test]
fn x86_64_forms_are_what_they_were() {
    check("x86_64/forms.txt", &snapshot(&x86::Intel, || X86_64::new(true), &forms()));
}

#[test]
fn x86_64_forms_without_bmi2_are_what_they_were() {
    check("x86_64/forms_plain.txt", &snapshot(&x86::Intel, || X86_64::new(false), &forms::shifts()));
}

#[test]
fn aarch64_forms_are_what_they_were() {
    check("aarch64/forms.txt", &snapshot(&arm::Arm, || AArch64::new(true, Reach::Near), &forms()));
}

#[test]
fn aarch64_forms_without_lse_are_what_they_were() {
    let atomics = forms::atomics();
    check("aarch64/forms_plain.txt", &snapshot(&arm::Arm, || AArch64::new(false, Reach::Near), &atomics));
}

#[test]
fn aarch64_forms_that_reach_far_are_what_they_were() {
    let branches = forms::branches();
    check("aarch64/forms_far.txt", &snapshot(&arm::Arm, || AArch64::new(true, Reach::Far), &branches));
}
