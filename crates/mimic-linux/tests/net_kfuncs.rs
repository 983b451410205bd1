//! What drivers know of frames, tunnels through UDP, IPsec interfaces, the end of sockets, outer headers. The answers are those of the
//! kernel's `net/core/xdp.c`, `net/ipv4/fou_bpf.c`, `net/xfrm/xfrm_interface_bpf.c`, `net/core/filter.c` and `lwt_bpf.c`.

mod common;

use common::{assemble_with_kfuncs, linux, vm_in};
use mimic_abi::asm::assemble;
use mimic_abi::{ByteOrder, Errno, ProgType};
use mimic_linux::net::{Delivery, DropReason};
use mimic_linux::progs::{RxMetadata, SkbContext, SockOpsContext, XdpContext};
use mimic_linux::{Device, Neighbour, Route, Socket, World};
use mimic_object::Program;
use mimic_vm::{Context, Vm};
use std::sync::Arc;

fn run<C: Context>(vm: &Arc<Vm>, text: &str, context: &mut C) -> u64 {
    let program = assemble_with_kfuncs(vm, text);
    let mut process = vm.process(&program, 0).expect("memory");
    process.run(context).unwrap_or_else(|error| panic!("{text}: {error}")).r0
}

fn errno(errno: Errno) -> u64 {
    u64::from(-errno.0 as u32)
}

#[test]
fn drivers_tell_what_they_know_of_frames() {
    let vm = vm_in(World::default());
    let mut frame = XdpContext::packet([0; 64]);
    let ask = |name: &str, load: &str| {
        format!(
            "r2 = r10\nr2 += -8\nr3 = r10\nr3 += -16\ncall bpf_xdp_metadata_rx_{name}\nr0 <<= 32\nr0 >>= 32\n\
             if r0 != 0 goto +1\nr0 = {load}\nexit"
        )
    };
    let timestamp = ask("timestamp", "*(u64 *)(r10 - 8)");
    assert_eq!(run(&vm, &timestamp, &mut frame), errno(Errno::EOPNOTSUPP));
    frame.rx_metadata = Some(RxMetadata::default());
    assert_eq!(run(&vm, &timestamp, &mut frame), errno(Errno::ENODATA));
    let (hash, vlan) = (Some((7, 9)), Some((0x8100, 0x123)));
    frame.rx_metadata = Some(RxMetadata { timestamp_ns: Some(1 << 40), hash, vlan });
    assert_eq!(run(&vm, &timestamp, &mut frame), 1 << 40);
    assert_eq!(run(&vm, &ask("hash", "*(u32 *)(r10 - 8)"), &mut frame), 7);
    assert_eq!(run(&vm, &ask("hash", "*(u32 *)(r10 - 16)"), &mut frame), 9);
    assert_eq!(run(&vm, &ask("vlan_tag", "*(u16 *)(r10 - 8)"), &mut frame), 0x0081);
    assert_eq!(run(&vm, &ask("vlan_tag", "*(u16 *)(r10 - 16)"), &mut frame), 0x123);
}

#[test]
fn packets_have_metadata_of_one_kind() {
    let vm = vm_in(World::default());
    let mut packet = SkbContext::packet([0; 64]);
    let get = "r2 = r10\nr2 += -8\ncall bpf_skb_get_xfrm_info\nr0 <<= 32\nr0 >>= 32\nif r0 != 0 goto +1\nr0 = *(u64 *)(r10 - 8)\nexit";
    assert_eq!(run(&vm, get, &mut packet), errno(Errno::EINVAL));
    let set = "r6 = r1\nr1 = 0x500000003 ll\n*(u64 *)(r10 - 8) = r1\nr1 = r6\nr2 = r10\nr2 += -8\ncall bpf_skb_set_xfrm_info\nr0 <<= 32\nr0 >>= 32\nexit";
    assert_eq!(run(&vm, set, &mut packet), 0);
    assert_eq!(packet.xfrm, Some((3, 5)));
    assert_eq!(run(&vm, get, &mut packet), 5 << 32 | 3);
    assert_eq!(run(&vm, set, &mut packet), errno(Errno::EINVAL));
    // Without a tunnel there are no ports.
    let ports = "*(u32 *)(r10 - 8) = 0x12345678\nr2 = r10\nr2 += -8\nr3 = 0\ncall bpf_skb_set_fou_encap\nr0 <<= 32\nr0 >>= 32\nexit";
    assert_eq!(run(&vm, ports, &mut SkbContext::packet([0; 64])), errno(Errno::EINVAL));
    let tunnelled = "r6 = r1\nr0 = 0\n*(u64 *)(r10 - 32) = r0\n*(u64 *)(r10 - 24) = r0\n*(u64 *)(r10 - 16) = r0\n*(u64 *)(r10 - 8) = r0\n\
        r2 = r10\nr2 += -32\nr3 = 28\nr4 = 0\ncall 21\nif r0 != 0 goto +11\n*(u32 *)(r10 - 8) = 0x12345678\nr1 = r6\nr2 = r10\nr2 += -8\nr3 = 0\n\
        call bpf_skb_set_fou_encap\nr1 = r6\nr2 = r10\nr2 += -4\ncall bpf_skb_get_fou_encap\nr0 = *(u32 *)(r10 - 4)\nexit";
    assert_eq!(run(&vm, tunnelled, &mut SkbContext::packet([0; 64])), 0x1234_5678);
}

#[test]
fn sockets_end() {
    let vm = vm_in(World::default());
    let destroy = |state: u32, protocol: u32| {
        let sock_type = if protocol == 6 { 1 } else { 2 };
        let sock = Socket { cookie: 9, family: 2, sock_type, protocol, state, ..Socket::default() };
        linux(&vm).add_socket(sock.clone());
        let text = "r1 = *(u64 *)(r1 + 184)\ncall bpf_sock_destroy\nr0 <<= 32\nr0 >>= 32\nexit";
        let r0 = run(&vm, text, &mut SockOpsContext::new(4, [0; 4], sock));
        (r0, linux(&vm).sockets().get(9).map(|sock| sock.state))
    };
    assert_eq!(destroy(1, 6), (0, Some(7)));
    assert_eq!(destroy(7, 6), (errno(Errno::ENOENT), Some(7)));
    assert_eq!(destroy(1, 17), (0, Some(7)));
    assert_eq!(destroy(7, 1), (errno(Errno::EOPNOTSUPP), Some(7)));
}

/// `bpf_lwt_push_encap` of these headers, from a program of this type.
fn encap(prog_type: ProgType, kind: u32, headers: &[u8], packet: &mut SkbContext) -> Result<u64, String> {
    let vm = vm_in(World::default());
    let stores: Vec<String> = headers
        .iter()
        .enumerate()
        .map(|(at, byte)| format!("*(u8 *)(r10 - {}) = {byte}", headers.len() - at))
        .collect();
    let len = headers.len();
    let text =
        format!("{}\nr2 = {kind}\nr3 = r10\nr3 += -{len}\nr4 = {len}\ncall 73\nexit", stores.join("\n"));
    let code = assemble(&text, &()).expect("good text").slots;
    let mut linked = Program::from_code("test", code, ByteOrder::Little);
    linked.prog_type = Some(prog_type);
    let program = vm.add(linked, &[]).expect("it loads");
    let mut process = vm.process(&program, 0).expect("memory");
    process.run(packet).map(|outcome| outcome.r0).map_err(|error| error.to_string())
}

#[test]
fn outer_headers_are_pushed() {
    let inner = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    let outer = [0x45, 0, 0, 40, 0, 0, 0, 0, 64, 4, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
    let mut packet = SkbContext::ip(inner);
    assert_eq!(encap(ProgType::LwtIn, 2, &outer, &mut packet), Ok(0));
    let after = packet.packet_after();
    assert_eq!((after.len(), &after[20..]), (40, &inner[..]));
    // The sum was left out: all words add up to it.
    let sum: u32 = after[..20].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    assert_eq!((&after[..10], &after[12..20]), (&outer[..10], &outer[12..]));
    let v6 = [&[0x60, 0, 0, 0, 0, 20, 4, 64][..], &[0; 32]].concat();
    assert_eq!(encap(ProgType::LwtXmit, 2, &v6, &mut packet), Ok(0));
    assert_eq!(packet.fields_after().protocol, Some(0x86dd));
    let invalid = Ok(-i64::from(Errno::EINVAL.0) as u64);
    assert_eq!(encap(ProgType::LwtIn, 2, &outer[..19], &mut packet), invalid);
    assert_eq!(encap(ProgType::LwtIn, 2, &v6[..39], &mut packet), invalid);
    let udp = [&outer[..9], &[17], &outer[10..]].concat();
    assert_eq!(encap(ProgType::LwtIn, 2, &udp, &mut packet), invalid);
    assert_eq!(encap(ProgType::LwtIn, 3, &outer, &mut packet), invalid);
    assert_eq!(encap(ProgType::LwtXmit, 0, &outer, &mut packet), invalid);
    let refused = encap(ProgType::LwtIn, 0, &outer, &mut packet).expect_err("there are no such routes");
    assert!(refused.contains("segment routing"), "{refused}");
}

#[test]
fn redirected_packets_get_their_link_layer_header() {
    let mut world = World::default();
    let net = &mut world.net;
    let addrs = vec![("10.0.0.1".parse().expect("an address"), 24)];
    net.devices.0.push(Device { addrs, ..Device::ethernet(5, "eth0") });
    net.devices.0.push(Device { up: false, ..Device::ethernet(6, "eth1") });
    let via = Some("10.0.0.254".parse().expect("an address"));
    let dst = ("20.0.0.0".parse().expect("an address"), 8);
    net.routes.push(Route { via, ..Route::new(dst, 5) });
    let lladdr = [2, 0, 0, 0, 9, 9];
    let gateway = "10.0.0.254".parse().expect("an address");
    net.neighbours.push(Neighbour { ifindex: 5, addr: gateway, lladdr, state: 2 });
    let vm = vm_in(world);
    let to = |dst: [u8; 4]| {
        let mut frame = vec![0xee; 12];
        frame.extend_from_slice(&[8, 0, 0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0, 0, 10, 0, 0, 1]);
        frame.extend_from_slice(&dst);
        frame
    };
    let redirect = |call: &str, dst: [u8; 4]| {
        let mut packet = SkbContext::packet(to(dst));
        run(&vm, &format!("{call}\nexit"), &mut packet);
        linux(&vm).deliver(&packet)
    };
    let by_neigh = |ifindex: u32| format!("r1 = {ifindex}\nr2 = 0\nr3 = 0\nr4 = 0\ncall 152");
    let by_index = |ifindex: u32, flags: u32| format!("r1 = {ifindex}\nr2 = {flags}\ncall 23");
    let far = [20, 0, 0, 1];
    let sent = redirect(&by_neigh(5), far);
    let Some(Delivery::Sent { ifindex: 5, packet }) = sent else { panic!("{sent:?}") };
    assert_eq!((&packet[..6], &packet[6..12]), (&lladdr[..], &[2, 0, 0, 0, 0, 5][..]));
    assert_eq!(packet[12..], to(far)[12..]);
    assert_eq!(redirect(&by_neigh(5), [10, 0, 0, 7]), Some(Delivery::Dropped(DropReason::NoNeighbour)));
    assert_eq!(redirect(&by_neigh(5), [30, 0, 0, 7]), Some(Delivery::Dropped(DropReason::NoRoute)));
    assert_eq!(redirect(&by_neigh(6), far), Some(Delivery::Dropped(DropReason::Down)));
    assert_eq!(redirect(&by_index(7, 0), far), Some(Delivery::Dropped(DropReason::NoDevice)));
    assert_eq!(redirect(&by_index(5, 0), far), Some(Delivery::Sent { ifindex: 5, packet: to(far) }));
    assert_eq!(redirect(&by_index(5, 1), far), Some(Delivery::Received { ifindex: 5, packet: to(far) }));
}
