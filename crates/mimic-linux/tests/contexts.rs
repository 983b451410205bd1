//! Contexts through the public API: what programs see of packets, and what comes back.

use mimic_abi::asm::assemble;
use mimic_abi::{ByteOrder, ProgType};
use mimic_linux::net::PACKET_LEN_MAX;
use mimic_linux::progs::{
    FlowKeys, PROG_TYPES, RawTracepointContext, SkbContext, SkbFields, Xdp, XdpContext,
};
use mimic_linux::{Linux, World};
use mimic_object::Program;
use mimic_vm::{Context, Process, RunError, Vm};
use std::sync::Arc;

fn process(prog_type: ProgType, text: &str) -> Process {
    process_of(&Vm::builder(Linux::new(World::default())).build().expect("memory"), prog_type, text)
}

fn process_of(vm: &Arc<Vm>, prog_type: ProgType, text: &str) -> Process {
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

/// What `bpf_xdp_adjust_head` and `bpf_xdp_adjust_tail` answer for growing by so much.
fn grown(context: &mut XdpContext, helper: u32, delta: i32) -> i64 {
    let text = format!("r2 = {delta}; call {helper}; exit");
    run(ProgType::Xdp, &text, context) as i64
}

#[test]
fn frames_grow_into_the_room_that_is_stated() {
    const HEAD: u32 = 44;
    const TAIL: u32 = 65;
    let mut context = XdpContext::packet(ipv4());
    // As the kernel has it: 256 bytes less its own 40, and the page less its own 320.
    assert_eq!((grown(&mut context, HEAD, -216), grown(&mut context, HEAD, -217)), (0, -22));
    assert_eq!(
        (grown(&mut context, TAIL, 4096 - 320 - 256 - 60), grown(&mut context, TAIL, 4096 - 320 - 256 - 59)),
        (0, -22)
    );
    (context.headroom, context.tailroom) = (100, Some(10));
    assert_eq!((grown(&mut context, HEAD, -60), grown(&mut context, HEAD, -61)), (0, -22));
    assert_eq!((grown(&mut context, TAIL, 10), grown(&mut context, TAIL, 11)), (0, -22));
    (context.headroom, context.tailroom) = (0, Some(0));
    assert_eq!((grown(&mut context, HEAD, -1), grown(&mut context, TAIL, 1)), (-22, -22));
    (context.headroom, context.tailroom) = (4096, Some(4096));
    assert_eq!((grown(&mut context, HEAD, -4056), grown(&mut context, TAIL, 4096)), (0, 0));
    context.headroom = 4097;
    assert!(process(ProgType::Xdp, "r0 = 0; exit").run(&mut context).is_err());
}

#[test]
fn flow_dissectors_begin_with_keys_and_leave_some() {
    // Reads nhoff and n_proto, writes thoff beyond the packet and the source address.
    let text = "r6 = *(u64 *)(r1 + 144); r0 = *(u16 *)(r6 + 0); r2 = *(u16 *)(r6 + 10); r2 <<= 16; r0 |= r2;
                *(u16 *)(r6 + 2) = 9999; *(u16 *)(r6 + 4) = 0x800; *(u32 *)(r6 + 16) = 0x0100000a; exit";
    let mut context = SkbContext::packet(ipv4());
    assert_eq!(run(ProgType::FlowDissector, text, &mut context), 14 | 8 << 16);
    let mut expected =
        FlowKeys { nhoff: 14, thoff: 60, addr_proto: 0x800, n_proto: 0x800, ..FlowKeys::default() };
    expected.src[..4].copy_from_slice(&[10, 0, 0, 1]);
    assert_eq!(context.flow_keys_after(), Some(&expected));
    context.flow_keys =
        Some(FlowKeys { nhoff: 18, n_proto: 0x86dd, sport: 80, flow_label: 7, ..FlowKeys::default() });
    assert_eq!(run(ProgType::FlowDissector, text, &mut context), 18 | 0xdd86 << 16);
    let after = context.flow_keys_after().expect("it ran");
    assert_eq!((after.nhoff, after.n_proto, after.sport, after.flow_label), (18, 0x86dd, 80, 7));
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

/// Draws numbers that are often at an edge.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn number(&mut self) -> i64 {
        const EDGES: [i64; 24] = [
            0,
            1,
            2,
            3,
            4,
            8,
            14,
            20,
            28,
            40,
            60,
            252,
            256,
            0x0800,
            0x0008,
            0xdd86,
            0x0081,
            4095,
            16064,
            0xffff,
            0x7fff_ffff,
            -1,
            i64::MIN,
            1 << 56,
        ];
        let edge = EDGES[self.next() as usize % EDGES.len()];
        match self.next() % 6 {
            0 => edge.wrapping_add(self.next() as i64 % 3).wrapping_neg(),
            1 => edge.wrapping_add(self.next() as i64 % 3),
            2 => (self.next() % 100) as i64,
            3 => (edge | (self.next() % 0x200) as i64) & 0xffff,
            _ => edge,
        }
    }
}

/// Programs that no verifier has seen call helpers with anything: whatever that does to packets, nothing panics.
#[test]
fn unverified_calls_do_no_harm() {
    const OF_SKBS: &[u32] = &[
        9, 10, 11, 13, 18, 18, 18, 19, 19, 19, 23, 26, 31, 31, 32, 34, 38, 38, 39, 40, 41, 43, 43, 48, 50,
        50, 50, 50, 68, 97, 135, 155, 163, 192, 46, 47,
    ];
    const OF_XDP: &[u32] = &[44, 44, 54, 65, 65, 163, 188, 189, 190, 23];
    let types = [ProgType::Xdp, ProgType::SchedCls, ProgType::LwtXmit, ProgType::CgroupSkb];
    let (mut dice, mut ran) = (Dice(7), 0);
    // One VM: an emulator of another machine keeps tables of each address space that it has ever seen.
    let vm = Vm::builder(Linux::new(World::default())).build().expect("memory");
    for round in 0..1500 {
        let helpers = if types[round % types.len()] == ProgType::Xdp { OF_XDP } else { OF_SKBS };
        let mut text = String::from("r6 = r1; ");
        for _ in 0..12 {
            let helper = helpers[dice.next() as usize % helpers.len()];
            let args: String = (2..6).map(|reg| format!("r{reg} = {} ll; ", dice.number())).collect();
            // Most buffers are there and as long as said: a bad one ends the run.
            let memory = match helper {
                9 | 26 | 68 | 189 | 190 if dice.next() % 50 > 0 => {
                    "r3 = r10; r3 += -256; r4 &= 255; r4 |= 1; "
                }
                163 => "r3 = r10; r3 += -256; ",
                _ => "",
            };
            text += &format!("r1 = r6; {args} {memory} call {helper}; ");
        }
        text += "r0 = 0; exit";
        let prog_type = types[round % types.len()];
        let frames = [
            ipv4(),
            vec![0x81; 14],
            vec![3; 5000],
            [vec![0; 12], vec![0x86, 0xdd, 0x60], vec![0; 60]].concat(),
        ];
        let frame = frames[dice.next() as usize % frames.len()].clone();
        let linear = [None, Some(0), Some(14), Some(40)][dice.next() as usize % 4];
        let mut process = process_of(&vm, prog_type, &text);
        for _ in 0..2 {
            if prog_type == ProgType::Xdp {
                let mut context = XdpContext::packet(frame.clone());
                context.linear_len = linear;
                ran += usize::from(process.run(&mut context).is_ok());
                assert!(context.packet_after().len() <= 5000 + 4096);
            } else {
                let mut context = SkbContext::packet(frame.clone());
                context.linear_len = linear;
                context.fields.gso_size = (dice.next() % 2) as u16 * 1000;
                ran += usize::from(process.run(&mut context).is_ok());
                assert!(context.packet_after().len() <= PACKET_LEN_MAX + 0x1_0000);
            }
        }
    }
    assert!(ran > 2000, "only {ran} of 3000 runs came to their end");
}

/// `bpf_redirect_map` answers by flags, entry and map type, and the context tells where the packet went.
#[test]
fn redirects_by_map() {
    use mimic_abi::MapType;
    use mimic_linux::net::{Redirect, RedirectTo};
    use mimic_object::{MapSpec, Ref, RefTarget};

    for (map_type, key, flags, r0, value) in [
        (MapType::Devmap, 1, 0, 4, Some(7)),
        (MapType::Devmap, 1, 2, 4, Some(7)),
        (MapType::Devmap, 0, 2, 2, None),
        (MapType::Devmap, 9, 1, 1, None),
        (MapType::Devmap, 1, 4, 0, None),
        (MapType::Devmap, 0, 8, 4, None),
        (MapType::Devmap, 0, 8 | 16, 4, None),
        (MapType::DevmapHash, 1, 3, 4, Some(7)),
        (MapType::Cpumap, 1, 8, 0, None),
        (MapType::Cpumap, 1, 0, 4, Some(7)),
    ] {
        let vm = Vm::builder(Linux::new(World::default())).cpus(2).build().expect("memory");
        let spec = MapSpec {
            name: "targets".into(),
            map_type: map_type.id(),
            key_size: 4,
            value_size: 4,
            max_entries: 4,
            ..MapSpec::default()
        };
        let map = vm.create_map(&spec).expect("a map");
        map.update_copy(&1u32.to_le_bytes(), &7u32.to_le_bytes(), 0).expect("an entry");
        let text = format!("r1 = 0 ll; r2 = {key}; r3 = {flags}; call 51; exit");
        let slots = assemble(&text, &()).expect("it assembles").slots;
        let mut linked = Program::from_code("test", slots, ByteOrder::Little);
        linked.prog_type = Some(ProgType::Xdp);
        linked.refs = vec![Ref { pc: 0, target: RefTarget::Map(0) }];
        let program = vm.add(linked, std::slice::from_ref(&map)).expect("it loads");
        let mut context = XdpContext::packet(ipv4());
        let ran = vm.process(&program, 0).expect("a process").run(&mut context).expect("it runs");
        assert_eq!(ran.r0, r0, "{map_type} {text}");
        let to = RedirectTo::Map { map_id: map.id, key, value };
        let flags = if flags & 8 != 0 { flags } else { 0 };
        assert_eq!(context.redirect(), (r0 == 4).then_some(&Redirect { to, flags }), "{map_type} {text}");
    }
}
