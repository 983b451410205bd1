//! Objects that programs own: what the kernel would have refused is a fault that names the place; nothing of it is lost.

use mimic_abi::asm::assemble;
use mimic_abi::btf::{Btf, BtfBuilder, Field, IntEncoding};
use mimic_abi::{ByteOrder, RawInsn};
use mimic_linux::{HEAP_BYTES_MAX, Linux, World};
use mimic_object::{Program, Ref, RefTarget};
use mimic_vm::{Hygiene, Outcome, RawContext, RunError, Vm};
use std::sync::Arc;

/// A structure `item` of a number and a list node, and a large one behind it; their ids.
fn types() -> (Arc<Btf>, [u32; 2]) {
    let mut builder = BtfBuilder::new();
    let long = builder.int("long", 8, IntEncoding::default());
    let node = builder.structure("bpf_list_node", 24, [Field::new("a", long, 0)]);
    let item = builder.structure("item", 32, [Field::new("number", long, 0), Field::new("node", node, 64)]);
    let large = builder.structure("large", 4088, [Field::new("number", long, 0)]);
    let bytes = builder.to_bytes(ByteOrder::Little).expect("small");
    (Arc::new(Btf::parse(bytes).expect("valid")), [item.0, large.0])
}

/// Runs text in which `call -N` stands for the kfunc `kfuncs[N - 1]`, and `ITEM` and `LARGE` for the types' ids.
fn run(vm: &Arc<Vm>, text: &str, kfuncs: &[&str]) -> Result<Outcome, RunError> {
    let (btf, [item, large]) = types();
    let text = text.replace("ITEM", &item.to_string()).replace("LARGE", &large.to_string());
    let mut code: Vec<RawInsn> = assemble(&text, &()).expect("assembles").slots;
    let mut refs = Vec::new();
    for (pc, insn) in code.iter_mut().enumerate().filter(|(_, insn)| insn.opcode == 0x85 && insn.imm < 0) {
        let name = kfuncs[(-insn.imm) as usize - 1].into();
        (insn.src, insn.imm) = (2, 0);
        refs.push(Ref { pc: pc as u32, target: RefTarget::Kfunc { name, weak: false, btf_id: 0 } });
    }
    let mut program = Program::from_code("test", code, ByteOrder::Little);
    (program.refs, program.btf) = (refs, Some(btf));
    let program = vm.add(program, &[]).expect("loads");
    vm.process(&program, 0).expect("memory").run(&mut RawContext::default())
}

fn vm(hygiene: Hygiene) -> Arc<Vm> {
    Vm::builder(Linux::new(World::default())).hygiene(hygiene).build().expect("memory")
}

fn fault(run: Result<Outcome, RunError>) -> String {
    run.expect_err("a fault").to_string()
}

const KFUNCS: &[&str] = &["bpf_obj_new_impl", "bpf_obj_drop_impl", "bpf_list_push_front_impl"];

#[test]
fn a_reference_that_is_left_is_a_fault() {
    let vm = vm(Hygiene::Off);
    let text = "r1 = ITEM\n r2 = 0\n call -1\n r0 = 0\n exit";
    let fault = fault(run(&vm, text, KFUNCS));
    assert!(fault.contains("a reference to a item is not released, of pc 2"), "{fault}");
}

#[test]
fn what_is_not_owned_cannot_be_given_away() {
    let vm = vm(Hygiene::Off);
    let twice =
        "r1 = ITEM\n r2 = 0\n call -1\n r6 = r0\n r1 = r6\n call -2\n r1 = r6\n call -2\n r0 = 0\n exit";
    let message = fault(run(&vm, twice, KFUNCS));
    assert!(message.contains("is no object that the program has a reference to"), "{message}");
    let stack = "r1 = r10\n r1 += -16\n r2 = r10\n r2 += -48\n call -3\n r0 = 0\n exit";
    let message = fault(run(&vm, stack, KFUNCS));
    assert!(message.contains("is no object that the program has a reference to"), "{message}");
}

#[test]
fn objects_have_exact_bounds() {
    let vm = vm(Hygiene::Off);
    let text = "r1 = ITEM\n r2 = 0\n call -1\n r1 = *(u64 *)(r0 + 32)\n exit";
    let message = fault(run(&vm, text, KFUNCS));
    assert!(message.contains("item"), "{message}");
}

/// Memory of a dropped object is the next one's; with `Poison`, reading what was not written since is a fault.
#[test]
fn freed_memory_is_used_again() {
    let text = "r1 = ITEM\n r2 = 0\n call -1\n r6 = r0\n r7 = 5\n *(u64 *)(r6 + 0) = r7\n r1 = r6\n call -2\n\
                r1 = ITEM\n r2 = 0\n call -1\n r7 = r0\n r8 = *(u64 *)(r7 + 0)\n r1 = r7\n call -2\n\
                r7 -= r6\n r0 = r7\n r0 += r8\n exit";
    assert_eq!(run(&vm(Hygiene::Off), text, KFUNCS).expect("runs").r0, 5);
    assert_eq!(run(&vm(Hygiene::Zero), text, KFUNCS).expect("runs").r0, 0);
    let message = fault(run(&vm(Hygiene::Poison), text, KFUNCS));
    assert!(message.contains("never written"), "{message}");
}

/// Objects are limited; when there is no room the answer is NULL, and a run that then ends badly leaves nothing behind.
#[test]
fn objects_run_out() {
    let vm = vm(Hygiene::Off);
    let text = "r6 = 0\n again: r1 = LARGE\n r2 = 0\n call -1\n if r0 == 0 goto end\n r6 += 1\n goto again\n\
                end: r0 = r6\n exit";
    for _ in 0..2 {
        let message = fault(run(&vm, text, KFUNCS));
        assert!(message.contains("is not released"), "{message}");
    }
    let text = "r1 = ITEM\n r2 = 0\n call -1\n r1 = r0\n call -2\n r0 = 7\n exit";
    assert_eq!(run(&vm, text, KFUNCS).expect("there is room again").r0, 7);
    const { assert!(HEAP_BYTES_MAX >= 1 << 20) };
}

#[test]
fn types_that_are_no_objects_are_refused() {
    let vm = vm(Hygiene::Off);
    for id in ["0", "1", "77", "-1"] {
        let text = format!("r1 = {id}\n r2 = 0\n call -1\n exit");
        let message = fault(run(&vm, &text, KFUNCS));
        assert!(message.contains("is no structure of 1 to 4088 bytes"), "{message}");
    }
}
