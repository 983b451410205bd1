//! Programs about sockets: events of connections with TCP options, groups that share a port, what sockets of sock maps receive. What is
//! expected is what the kernel's `net/core/filter.c` and the selftests (`tcp_hdr_options.c`, `select_reuseport.c`, `sockmap_*.c`) say.

mod common;

use common::{linux, vm_in};
use mimic_abi::asm::assemble;
use mimic_abi::{ByteOrder, Errno, MapType, ProgType};
use mimic_linux::net::RedirectTo;
use mimic_linux::progs::{SkMsg, SkMsgContext, SkReuseport, SkReuseportContext, SkbContext, SockOpsContext};
use mimic_linux::{Effect, Reuse, Socket, World};
use mimic_object::{MapSpec, Program, Ref, RefTarget};
use mimic_vm::{Context, MapRef, Vm};
use std::sync::Arc;

const TCP_ESTABLISHED: u32 = 1;
const TCP_LISTEN: u32 = 10;
const TCP_NEW_SYN_RECV: u32 = 12;

fn tcp(cookie: u64, state: u32) -> Socket {
    Socket {
        cookie,
        family: 2,
        sock_type: 1,
        protocol: 6,
        state,
        local_ip4: [10, 0, 0, 1],
        remote_ip4: [10, 0, 0, 2],
        local_port: 80,
        remote_port: 0x1234,
        ..Socket::default()
    }
}

/// Runs a program; `0xffff ll` is the first map, `0x1ffff ll` the second.
fn run<C: Context>(
    vm: &Arc<Vm>,
    prog_type: ProgType,
    text: &str,
    maps: &[Arc<MapRef>],
    context: &mut C,
) -> Result<u64, String> {
    let code = assemble(text, &()).unwrap_or_else(|errors| panic!("{text}: {errors:?}")).slots;
    let refs = code.iter().enumerate().filter(|(_, insn)| insn.opcode == 0x18 && insn.imm & 0xffff == 0xffff);
    let refs =
        refs.map(|(pc, insn)| Ref { pc: pc as u32, target: RefTarget::Map((insn.imm >> 16) as usize) });
    let refs = refs.collect();
    let mut linked = Program { refs, ..Program::from_code("test", code, ByteOrder::Little) };
    linked.prog_type = Some(prog_type);
    let program = vm.add(linked, maps).unwrap_or_else(|error| panic!("{error}"));
    let mut process = vm.process(&program, 0).expect("memory");
    process.run(context).map(|outcome| outcome.r0).map_err(|error| error.to_string())
}

fn errno(errno: Errno) -> Result<u64, String> {
    Ok(-i64::from(errno.0) as u64)
}

fn map(vm: &Arc<Vm>, kind: MapType) -> Arc<MapRef> {
    let spec =
        MapSpec { map_type: kind.id(), key_size: 4, value_size: 8, max_entries: 4, ..MapSpec::default() };
    vm.create_map(&spec).expect("a good map")
}

/// A TCP header with these options, padded.
fn header(options: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 20];
    header.extend_from_slice(options);
    header.resize(header.len().next_multiple_of(4), 0);
    header[12] = (header.len() as u8 / 4) << 4;
    header[13] = 0x12;
    header
}

#[test]
fn events_show_the_connection() {
    let vm = vm_in(World::default());
    let mut sock = tcp(0, TCP_ESTABLISHED);
    (sock.tcp.snd_cwnd, sock.tcp.bytes_acked) = (33, 1 << 40);
    let read = |at: &str, context: &mut SockOpsContext| {
        run(&vm, ProgType::SockOps, &format!("r0 = *({at}); exit"), &[], context)
    };
    let mut event = SockOpsContext::new(10, [1, 4, 0, 0], sock.clone());
    for (at, expected) in [
        ("u32 *)(r1 + 0", 10),
        ("u32 *)(r1 + 8", 4),
        ("u32 *)(r1 + 20", 2),
        ("u32 *)(r1 + 28", 0x0100_000a),
        ("u32 *)(r1 + 64", 0x3412_0000),
        ("u32 *)(r1 + 68", 80),
        ("u32 *)(r1 + 72", 1),
        ("u32 *)(r1 + 76", 33),
        ("u64 *)(r1 + 176", 1 << 40),
        ("u64 *)(r1 + 192", 0),
    ] {
        assert_eq!(read(at, &mut event), Ok(expected), "{at}");
    }
    // A request is no whole socket.
    let mut event = SockOpsContext::new(14, [0; 4], Socket { state: TCP_NEW_SYN_RECV, ..sock });
    assert_eq!(read("u32 *)(r1 + 72", &mut event), Ok(0));
    assert_eq!(read("u32 *)(r1 + 76", &mut event), Ok(0));
    assert_eq!(read("u64 *)(r1 + 184", &mut event), Ok(0));
    let refused = read("u32 *)(r1 + 168", &mut event).expect_err("a part of a number");
    assert!(refused.contains("context+168"), "{refused}");
}

#[test]
fn replies_count_if_the_program_returns_1() {
    let vm = vm_in(World::default());
    let mut event = SockOpsContext::new(1, [0; 4], tcp(0, TCP_ESTABLISHED));
    let set = |r0: u32| format!("*(u32 *)(r1 + 4) = 77; *(u32 *)(r1 + 164) = 5; r0 = {r0}; exit");
    for (r0, reply) in [(1, 77), (0, -1)] {
        run(&vm, ProgType::SockOps, &set(r0), &[], &mut event).expect("it runs");
        let result = event.result().expect("it ended");
        assert_eq!((result.reply, result.txhash), (reply, 5));
    }
    let refused = run(&vm, ProgType::SockOps, "*(u32 *)(r1 + 8) = 1; r0 = 1; exit", &[], &mut event);
    assert!(refused.expect_err("only the reply can be set").contains("context+8"));
}

#[test]
fn programs_say_which_events_they_want() {
    let vm = vm_in(World::default());
    linux(&vm).add_socket(tcp(5, TCP_ESTABLISHED));
    let mut event = SockOpsContext::new(4, [0; 4], tcp(5, TCP_ESTABLISHED));
    let text = "r6 = r1; r2 = 0x1c7; call 59; r7 = r0; r0 = *(u32 *)(r6 + 84); r7 <<= 16; r0 |= r7; exit";
    assert_eq!(run(&vm, ProgType::SockOps, text, &[], &mut event), Ok(0x180_0047));
    // They are the connection's.
    let mut later = SockOpsContext::new(12, [0; 4], tcp(5, TCP_ESTABLISHED));
    assert_eq!(run(&vm, ProgType::SockOps, "r0 = *(u32 *)(r1 + 84); exit", &[], &mut later), Ok(0x47));
    let mut request = SockOpsContext::new(14, [0; 4], tcp(6, TCP_NEW_SYN_RECV));
    assert_eq!(run(&vm, ProgType::SockOps, "r2 = 1; call 59; exit", &[], &mut request), errno(Errno::EINVAL));
}

#[test]
fn options_are_found_in_headers() {
    let vm = vm_in(World::default());
    // MSS, nothing, an experiment with a magic number of 4 bytes, the end.
    let options = [2, 4, 5, 0xb4, 1, 253, 8, 0xeb, 0x9f, 1, 2, 7, 8, 0];
    let load = |event: &mut SockOpsContext, search: &[u8], len: u32, flags: u32| {
        let stores: String = (0..8)
            .map(|at| format!("*(u8 *)(r10 - {}) = {}; ", 8 - at, search.get(at).copied().unwrap_or(0)))
            .collect();
        let text = format!(
            "{stores} r2 = r10; r2 += -8; r3 = {len}; r4 = {flags}; call 142; r6 = r0
             r0 = *(u8 *)(r10 - 5); r0 <<= 32; r6 <<= 32; r6 >>= 32; r0 |= r6; exit"
        );
        let r0 = run(&vm, ProgType::SockOps, &text, &[], event).expect("it runs");
        (r0 as i32, (r0 >> 32) as u8)
    };
    let mut parse = SockOpsContext::with_header(13, header(&options), tcp(0, TCP_ESTABLISHED));
    let failed = |errno: Errno, last: u8| (-errno.0, last);
    assert_eq!(load(&mut parse, &[2, 0], 8, 0), (4, 0xb4));
    assert_eq!(load(&mut parse, &[2, 0], 3, 0), failed(Errno::ENOSPC, 0));
    assert_eq!(load(&mut parse, &[3, 0], 8, 0), failed(Errno::ENOMSG, 0));
    assert_eq!(load(&mut parse, &[253, 4, 0xeb, 0x9f], 8, 0), (8, 0x9f));
    assert_eq!(load(&mut parse, &[253, 6, 0xeb, 0x9f, 1, 2], 8, 0), (8, 0x9f));
    assert_eq!(load(&mut parse, &[253, 4, 0xeb, 0x9e], 8, 0), failed(Errno::ENOMSG, 0x9e));
    assert_eq!(load(&mut parse, &[253, 3, 0xeb], 8, 0), failed(Errno::EINVAL, 0));
    assert_eq!(load(&mut parse, &[2, 4], 8, 0), failed(Errno::EINVAL, 0));
    assert_eq!(load(&mut parse, &[1, 0], 8, 0), failed(Errno::EINVAL, 0));
    assert_eq!(load(&mut parse, &[2, 0], 8, 2), failed(Errno::EINVAL, 0));
    assert_eq!(load(&mut parse, &[2, 0], 8, 1), failed(Errno::ENOENT, 0));
    parse.syn = header(&[8, 4, 1, 6]);
    assert_eq!(load(&mut parse, &[8, 0], 8, 1), (4, 6));
    let mut asked = SockOpsContext::new(14, [0; 4], tcp(0, TCP_ESTABLISHED));
    assert_eq!(load(&mut asked, &[2, 0], 8, 0), failed(Errno::EPERM, 0));
    let broken = header(&[2, 9, 0, 0]);
    let mut broken = SockOpsContext::with_header(13, broken, tcp(0, TCP_ESTABLISHED));
    assert_eq!(load(&mut broken, &[3, 0], 8, 0), failed(Errno::EFAULT, 0));
}

#[test]
fn options_are_reserved_and_written() {
    let vm = vm_in(World::default());
    let mut asked = SockOpsContext::new(14, [0; 4], tcp(0, TCP_ESTABLISHED));
    asked.option_room = 12;
    let reserve = |event: &mut SockOpsContext, len: u32, flags: u32| {
        run(&vm, ProgType::SockOps, &format!("r2 = {len}; r3 = {flags}; call 144; exit"), &[], event)
    };
    for (len, flags, expected) in [
        (1, 0, errno(Errno::EINVAL)),
        (4, 1, errno(Errno::EINVAL)),
        (13, 0, errno(Errno::ENOSPC)),
        (5, 0, Ok(0)),
    ] {
        assert_eq!(reserve(&mut asked, len, flags), expected);
    }
    assert_eq!(asked.result().map(|result| result.option_len), Some(5));
    let mut event = SockOpsContext::with_header(15, header(&[2, 4, 5, 0xb4]), tcp(0, TCP_ESTABLISHED));
    event.option_room = 8;
    assert_eq!(reserve(&mut event, 4, 0), errno(Errno::EPERM));
    let store = |event: &mut SockOpsContext, option: &[u8], then: &str| {
        let bytes: String = option
            .iter()
            .enumerate()
            .map(|(at, byte)| format!("*(u8 *)(r10 - {}) = {byte}; ", 8 - at))
            .collect();
        let text = format!(
            "r6 = r1; {bytes} r2 = r10; r2 += -8; r3 = {}; r4 = 0; call 143; {then} exit",
            option.len()
        );
        run(&vm, ProgType::SockOps, &text, &[], event)
    };
    assert_eq!(store(&mut event, &[254, 4, 1, 2], ""), Ok(0));
    let result = event.result().expect("it ended").clone();
    assert_eq!((result.option_len, &result.header[24..]), (4, &[254, 4, 1, 2][..]));
    assert_eq!(store(&mut event, &[2, 4, 0, 0], ""), errno(Errno::EEXIST));
    assert_eq!(store(&mut event, &[254, 3, 0], ""), errno(Errno::EINVAL));
    assert_eq!(store(&mut event, &[7, 9, 0], ""), errno(Errno::EINVAL));
    // The same once more, which is there then; and the header has grown.
    let again = "r1 = r6; r2 = r10; r2 += -8; r3 = 4; r4 = 0; call 143; r0 = -r0; r1 = *(u64 *)(r6 + 200); \
                 r2 = *(u64 *)(r6 + 192); r1 -= r2; r1 <<= 8; r0 |= r1;";
    assert_eq!(store(&mut event, &[254, 4, 1, 2], again), Ok(28 << 8 | Errno::EEXIST.0 as u64));
    event.option_room = 3;
    assert_eq!(store(&mut event, &[254, 4, 1, 2], ""), errno(Errno::ENOSPC));
    let mut parse = SockOpsContext::with_header(13, header(&[]), tcp(0, TCP_ESTABLISHED));
    assert_eq!(store(&mut parse, &[254, 4, 1, 2], ""), errno(Errno::EPERM));
    let mut ended = SockOpsContext::with_header(15, header(&[1, 0]), tcp(0, TCP_ESTABLISHED));
    ended.option_room = 8;
    assert_eq!(store(&mut ended, &[254, 4, 1, 2], ""), errno(Errno::ENOSPC));
}

#[test]
fn connections_are_put_in_maps_when_they_begin() {
    let vm = vm_in(World::default());
    linux(&vm).add_socket(tcp(5, TCP_ESTABLISHED));
    for (kind, helper) in [(MapType::Sockmap, 53), (MapType::Sockhash, 70)] {
        let map = map(&vm, kind);
        let text =
            format!("*(u32 *)(r10 - 4) = 2; r2 = 0xffff ll; r3 = r10; r3 += -4; r4 = 0; call {helper}; exit");
        for (op, expected) in [(4, Ok(0)), (5, Ok(0)), (11, Ok(0)), (10, errno(Errno::EOPNOTSUPP))] {
            let mut event = SockOpsContext::new(op, [0; 4], tcp(5, TCP_ESTABLISHED));
            assert_eq!(run(&vm, ProgType::SockOps, &text, std::slice::from_ref(&map), &mut event), expected);
        }
        assert_eq!(map.lookup_copy(&2u32.to_le_bytes(), 0), Ok(5u64.to_le_bytes().to_vec()));
    }
    // What is gone is in no map.
    let map = map(&vm, MapType::Sockmap);
    map.update_copy(&[0; 4], &5u64.to_le_bytes(), 0).expect("it is there");
    linux(&vm).remove_socket(5);
    assert_eq!(map.lookup_copy(&[0; 4], 0), Err(Errno::ENOENT));
}

/// A world with a group of three sockets that share a port, and one that does not.
fn group() -> Arc<Vm> {
    let vm = vm_in(World::default());
    for cookie in 1..=4 {
        let reuse = Reuse { addr: true, port: cookie != 4 };
        let (protocol, sock_type) = (17, 2);
        let remote = ([0; 4], 0);
        let sock = Socket { protocol, sock_type, state: 7, reuse, ..tcp(cookie, 7) };
        linux(&vm).add_socket(Socket { remote_ip4: remote.0, remote_port: remote.1, ..sock });
    }
    vm
}

fn udp_frame() -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend_from_slice(&[8, 0, 0x45, 0, 0, 31, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1]);
    frame.extend_from_slice(&[0x12, 0x34, 0, 80, 0, 11, 0, 0, b'a', b'b', b'c']);
    frame
}

#[test]
fn programs_select_of_a_group() {
    let vm = group();
    let array = map(&vm, MapType::ReuseportSockarray);
    for (key, cookie) in [(0u32, 3u64), (1, 1)] {
        array.update_copy(&key.to_le_bytes(), &cookie.to_le_bytes(), 0).expect("it shares its port");
    }
    let sockmap = map(&vm, MapType::Sockmap);
    sockmap.update_copy(&[0; 4], &4u64.to_le_bytes(), 0).expect("it is bound");
    let member = (*linux(&vm).sockets().get(2).expect("it is there")).clone();
    let mut packet = SkReuseportContext::packet(udp_frame(), member);
    let maps = [array, sockmap];
    let mut select = |map: u32, key: u32, verdict: u32| {
        let text = format!(
            "*(u32 *)(r10 - 4) = {key}; r2 = {map:#x}ffff ll; r3 = r10; r3 += -4; r4 = 0; call 82; r6 = r0
             if r6 != 0 goto out; r6 = {verdict}; out: r0 = r6; exit"
        );
        let r0 = run(&vm, ProgType::SkReuseport, &text, &maps, &mut packet);
        (r0, packet.verdict().expect("it ended"))
    };
    assert_eq!(select(0, 0, 1), (Ok(1), SkReuseport::Selected(3)));
    assert_eq!(select(0, 1, 0), (Ok(0), SkReuseport::Drop));
    assert_eq!(select(0, 2, 1), (errno(Errno::ENOENT), SkReuseport::Drop));
    assert_eq!(select(1, 0, 1), (errno(Errno::EINVAL), SkReuseport::Drop));
    let text = "r0 = 1; exit";
    run(&vm, ProgType::SkReuseport, text, &maps, &mut packet).expect("it runs");
    assert!(matches!(packet.verdict(), Some(SkReuseport::ByHash(1..=3))));
}

#[test]
fn packets_for_groups_begin_at_their_transport_header() {
    let vm = group();
    let member = (*linux(&vm).sockets().get(2).expect("it is there")).clone();
    let mut packet = SkReuseportContext::packet(udp_frame(), member);
    packet.hash = Some(0x8000_0001);
    let mut read = |text: &str| run(&vm, ProgType::SkReuseport, text, &[], &mut packet);
    for (at, expected) in [
        ("u32 *)(r1 + 16", 11),
        ("u16 *)(r1 + 20", 0x0008),
        ("u32 *)(r1 + 24", 17),
        ("u32 *)(r1 + 28", 0),
        ("u32 *)(r1 + 32", 0x8000_0001),
        ("u64 *)(r1 + 48", 0),
    ] {
        assert_eq!(read(&format!("r0 = *({at}); exit")), Ok(expected), "{at}");
    }
    assert_eq!(read("r2 = *(u64 *)(r1 + 0); r0 = *(u16 *)(r2 + 0); exit"), Ok(0x3412));
    assert_eq!(read("r1 = *(u64 *)(r1 + 40); r0 = *(u32 *)(r1 + 44); exit"), Ok(80));
    let load = |helper: u32, off: u32, len: u32, from: u32| {
        format!(
            "*(u64 *)(r10 - 8) = 0; r2 = {off}; r3 = r10; r3 += -8; r4 = {len}; r5 = {from}; call {helper}
             if r0 != 0 goto out; r0 = *(u64 *)(r10 - 8); out: exit"
        )
    };
    assert_eq!(read(&load(26, 8, 3, 0)), Ok(u64::from(u32::from_le_bytes(*b"abc\0"))));
    assert_eq!(read(&load(26, 8, 4, 0)), errno(Errno::EFAULT));
    assert_eq!(read(&load(68, 12, 2, 0)), Ok(8));
    assert_eq!(read(&load(68, 9, 1, 1)), Ok(17));
}

#[test]
fn messages_and_packets_go_to_sockets_of_maps() {
    let vm = vm_in(World::default());
    linux(&vm).add_socket(tcp(5, TCP_ESTABLISHED));
    linux(&vm).add_socket(tcp(6, TCP_LISTEN));
    linux(&vm).add_socket(Socket { protocol: 17, sock_type: 2, ..tcp(7, TCP_ESTABLISHED) });
    let maps = [map(&vm, MapType::Sockmap), map(&vm, MapType::Sockhash)];
    for (at, cookie) in [5u64, 6, 7].iter().enumerate() {
        for map in &maps {
            map.update_copy(&(at as u32).to_le_bytes(), &cookie.to_le_bytes(), 0).expect("it can be put in");
        }
    }
    let by_index = |helper: u32, key: u32, flags: u32| {
        format!("r2 = 0xffff ll; r3 = {key}; r4 = {flags}; call {helper}; exit")
    };
    let by_key = |helper: u32, key: u32, flags: u32| {
        format!(
            "*(u32 *)(r10 - 4) = {key}; r2 = 0x1ffff ll; r3 = r10; r3 += -4; r4 = {flags}; call {helper}; exit"
        )
    };
    let mut message = SkMsgContext::new("hello", tcp(0, TCP_ESTABLISHED));
    let mut packet = SkbContext::ip("hello");
    for (key, flags, sends, receives) in [
        (0, 0, true, true),
        (0, 1, true, true),
        (0, 2, false, false),
        (1, 0, false, false),
        (2, 0, false, true),
        (2, 1, true, true),
        (3, 0, false, false),
    ] {
        for text in [by_index(60, key, flags), by_key(71, key, flags)] {
            run(&vm, ProgType::SkMsg, &text, &maps, &mut message).expect("it runs");
            let cookie = u64::from(key) + 5;
            let redirected = SkMsg::Redirect { cookie, ingress: flags == 1 };
            assert_eq!(message.verdict(), Some(if sends { redirected } else { SkMsg::Drop }), "{text}");
        }
        for text in [by_index(52, key, flags), by_key(72, key, flags)] {
            let r0 = run(&vm, ProgType::SkSkb, &text, &maps, &mut packet);
            assert_eq!(r0, Ok(receives.into()), "{text}");
            let to = packet.redirect().map(|redirect| redirect.to.clone());
            let cookie = match to {
                Some(RedirectTo::Socket { cookie, .. }) => Some(cookie),
                _ => None,
            };
            assert_eq!(cookie, receives.then_some(u64::from(key) + 5), "{text}");
        }
    }
}

#[test]
fn sk_skb_programs_see_the_payload() {
    let vm = vm_in(World::default());
    let mut packet = SkbContext::packet(udp_frame());
    let first = "r2 = *(u32 *)(r1 + 76); r0 = *(u8 *)(r2 + 0); exit";
    assert_eq!(run(&vm, ProgType::SkSkb, first, &[], &mut packet), Ok(b'a'.into()));
    assert_eq!(run(&vm, ProgType::SkSkb, "r0 = *(u32 *)(r1 + 0); exit", &[], &mut packet), Ok(3));
    let refused = run(&vm, ProgType::SkSkb, "r0 = *(u32 *)(r1 + 8); exit", &[], &mut packet);
    assert!(refused.expect_err("there is no mark").contains("context+8"));
}

#[test]
fn acknowledgements_are_noted() {
    let vm = vm_in(World::default());
    linux(&vm).add_socket(tcp(5, TCP_ESTABLISHED));
    let mut event = SockOpsContext::new(4, [0; 4], tcp(5, TCP_ESTABLISHED));
    let text = "r1 = *(u64 *)(r1 + 184); r2 = 99; call 116; exit";
    assert_eq!(run(&vm, ProgType::SockOps, text, &[], &mut event), Ok(0));
    assert_eq!(linux(&vm).take_effects(), [Effect::TcpAck { cookie: 5, rcv_nxt: 99 }]);
}
