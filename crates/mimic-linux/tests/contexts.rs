//! Contexts through the public API: what programs see of packets, and what comes back.

use mimic_abi::asm::assemble;
use mimic_abi::{ByteOrder, ProgType};
use mimic_linux::progs::{PROG_TYPES, RawTracepointContext, SkbContext, SkbFields, Xdp, XdpContext};
use mimic_linux::{Linux, World};
use mimic_object::Program;
use mimic_vm::{Context, Process, RunError, Vm};

fn process(prog_type: ProgType, text: &str) -> Process {
    let vm = Vm::builder(Linux::new(World::default())).build().expect("memory");
    let slots = assemble(text, &()).unwrap_or_else(|errors| panic!("{text}: {errors:?}")).slots;
    let mut linked = Program::from_code("test", slots, ByteOrder::Little);
    linked.prog_type = Some(prog_type);
    let program = vm.add(linked, &[]).expect("it loads");
    vm.process(&program, 0).expect("a process")
}

fn run(prog_type: ProgType, text: &str, context: &mut impl Context) -> u64 {
    process(prog_type, text).run(context).unwrap_or_else(|error| panic!("{text}: {error}")).r0
}

fn ipv4() -> Vec<u8> {
    let mut frame = vec![0; 60];
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14] = 0x45;
    frame[23] = 17;
    frame
}

#[test]
fn xdp_sees_its_frame_and_may_write_it() {
    let text = "r2 = *(u32 *)(r1 + 0); r3 = *(u32 *)(r1 + 4); r0 = r3; r0 -= r2; *(u8 *)(r2 + 5) = r0; exit";
    let mut context = XdpContext::packet(ipv4());
    assert_eq!(run(ProgType::Xdp, text, &mut context), 60);
    assert_eq!(context.packet_after()[5], 60);
    assert_eq!(context.verdict(), Some(Xdp::Other(60)));
}

#[test]
fn xdp_faults_name_the_packet() {
    let text = "r2 = *(u32 *)(r1 + 4); r0 = *(u8 *)(r2 + 0); exit";
    let error =
        process(ProgType::Xdp, text).run(&mut XdpContext::packet(ipv4())).expect_err("beyond the end");
    assert!(matches!(error, RunError::Fault(_)));
    assert!(error.to_string().contains("packet+60: the packet ends at 60"), "{error}");
}

#[test]
fn a_context_runs_again_with_another_frame() {
    let mut process =
        process(ProgType::Xdp, "r2 = *(u32 *)(r1 + 0); r0 = *(u8 *)(r2 + 0); *(u8 *)(r2 + 0) = 9; exit");
    let mut context = XdpContext::packet([2; 60]);
    for first in [2u8, 1, 3] {
        context.set_frame(&[first; 64]);
        assert_eq!(process.run(&mut context).expect("it runs").r0, u64::from(first));
        assert_eq!(context.packet_after()[..2], [9, first]);
    }
}

#[test]
fn fragments_are_beyond_pointers() {
    let text = "r2 = *(u32 *)(r1 + 0); r0 = *(u32 *)(r1 + 4); r0 -= r2; exit";
    let mut context = XdpContext::packet(vec![7; 9000]);
    context.linear_len = Some(3000);
    assert_eq!(run(ProgType::Xdp, text, &mut context), 3000);
    assert_eq!(context.packet_after(), vec![7; 9000]);
    assert_eq!(context.lens_after(), (9000, 3000));
}

#[test]
fn tc_writes_fields_and_reads_them_back() {
    let text = "r0 = *(u32 *)(r1 + 8); *(u32 *)(r1 + 8) = 77; *(u64 *)(r1 + 56) = 5; r2 = *(u32 *)(r1 + 16); r0 += r2; exit";
    let mut context = SkbContext::packet(ipv4());
    context.fields = SkbFields { mark: 0x1_0000, ifindex: 1, ..SkbFields::default() };
    assert_eq!(run(ProgType::SchedCls, text, &mut context), 0x1_0008);
    assert_eq!((context.fields_after().mark, context.fields_after().cb), (77, [0, 0, 5, 0, 0]));
    assert_eq!(context.packet_after().len(), 60);
}

#[test]
fn rights_differ_by_type() {
    let write_mark = "*(u32 *)(r1 + 8) = 1; r0 = 0; exit";
    for (prog_type, may) in [
        (ProgType::SocketFilter, false),
        (ProgType::SchedCls, true),
        (ProgType::CgroupSkb, true),
        (ProgType::LwtXmit, true),
    ] {
        let ran = process(prog_type, write_mark).run(&mut SkbContext::packet(ipv4()));
        assert_eq!(ran.is_ok(), may, "{prog_type}");
    }
    let write_packet = "r2 = *(u32 *)(r1 + 76); *(u8 *)(r2 + 0) = 1; r0 = 0; exit";
    assert!(process(ProgType::CgroupSkb, write_packet).run(&mut SkbContext::packet(ipv4())).is_err());
    assert!(process(ProgType::LwtXmit, write_packet).run(&mut SkbContext::packet(ipv4())).is_ok());
}

#[test]
fn legacy_loads() {
    for (text, r0) in [
        ("r6 = r1; r0 = *(u16 *)skb[12]; exit", 0x0800),
        ("r6 = r1; r0 = *(u8 *)skb[23]; exit", 17),
        ("r6 = r1; r2 = 20; r0 = *(u8 *)skb[r2 + 3]; exit", 17),
        ("r6 = r1; r0 = *(u8 *)skb[60]; r0 = 5; exit", 0),
        ("r6 = r1; r0 = *(u32 *)skb[57]; r0 = 5; exit", 0),
        ("r6 = r1; r0 = *(u8 *)skb[-1048567]; exit", 17),
        ("r6 = r1; r0 = *(u16 *)skb[-2097140]; exit", 0x0800),
        ("r6 = r1; r0 = *(u8 *)skb[-4]; r0 = 5; exit", 0),
    ] {
        assert_eq!(run(ProgType::SocketFilter, text, &mut SkbContext::packet(ipv4())), r0, "{text}");
    }
    let no_context = "r6 = 0; r0 = *(u8 *)skb[0]; exit";
    assert!(process(ProgType::SocketFilter, no_context).run(&mut SkbContext::packet(ipv4())).is_err());
}

#[test]
fn tracepoint_arguments_are_read_only() {
    let mut context = RawTracepointContext::new([3, u64::MAX]);
    assert_eq!(run(ProgType::RawTracepoint, "r0 = *(u64 *)(r1 + 8); exit", &mut context), u64::MAX);
    assert!(process(ProgType::RawTracepoint, "*(u64 *)(r1 + 8) = 0; exit").run(&mut context).is_err());
}

#[test]
fn every_program_type_has_a_row() {
    let rows: Vec<ProgType> = PROG_TYPES.iter().map(|row| row.prog_type).collect();
    assert_eq!(rows, ProgType::ALL[1..]);
}
