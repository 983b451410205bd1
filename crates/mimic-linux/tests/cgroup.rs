//! Control groups' programs: contexts, what programs may touch of them, and what the system call goes on with.
//!
//! Expected numbers are those of the kernel's selftests (sockopt*, test_sysctl, bind*, connect*, cgroup_getset_retval) and of its documentation.

use mimic_abi::asm::assemble;
use mimic_abi::{AttachType, ByteOrder, Errno, ProgType};
use mimic_linux::progs::{
    CgroupContext, DeviceContext, DeviceKind, SetsockoptEnd, SockAddr, SockAddrContext, SockContext,
    SockoptContext, SysctlContext, run_cgroup,
};
use mimic_linux::{Linux, Socket, World};
use mimic_object::Program;
use mimic_vm::{Context, Process, Vm};
use std::net::SocketAddr;
use std::sync::Arc;

struct Kernel(Arc<Vm>);

impl Kernel {
    fn new(world: World) -> Kernel {
        Kernel(Vm::builder(Linux::new(world)).build().expect("memory"))
    }

    fn process(&self, prog_type: ProgType, attach_type: AttachType, text: &str) -> Process {
        let slots = assemble(text, &()).unwrap_or_else(|errors| panic!("{text}: {errors:?}")).slots;
        let mut linked = Program::from_code("test", slots, ByteOrder::Little);
        (linked.prog_type, linked.attach_type) = (Some(prog_type), Some(attach_type));
        let program = self.0.add(linked, &[]).expect("it loads");
        self.0.process(&program, 0).expect("a process")
    }

    fn linux(&self) -> &Linux {
        self.0.emulator_as().expect("it is Linux")
    }
}

fn run(
    prog_type: ProgType,
    attach_type: AttachType,
    text: &str,
    context: &mut impl Context,
) -> Result<u64, String> {
    let mut process = Kernel::new(World::default()).process(prog_type, attach_type, text);
    process.run(context).map(|outcome| outcome.r0).map_err(|error| error.to_string())
}

const CONNECT4: (ProgType, AttachType) = (ProgType::CgroupSockAddr, AttachType::CgroupInet4Connect);
const CONNECT6: (ProgType, AttachType) = (ProgType::CgroupSockAddr, AttachType::CgroupInet6Connect);

fn v4() -> SocketAddr {
    "192.168.1.254:4040".parse().expect("an address")
}

#[test]
fn an_address_is_read_and_rewritten() {
    // Port and address are in network order; of what is written to the port 16 bits are kept.
    let text = "r2 = *(u32 *)(r1 + 4); if w2 != 0xfe01a8c0 goto deny
        r2 = *(u32 *)(r1 + 24); if w2 != 0xc80f goto deny
        r2 = *(u8 *)(r1 + 24); if w2 != 0x0f goto deny
        r2 = *(u32 *)(r1 + 0); if w2 != 2 goto deny
        r2 = *(u32 *)(r1 + 32); if w2 != 1 goto deny
        r2 = *(u64 *)(r1 + 64); r2 = *(u32 *)(r2 + 8); if w2 != 1 goto deny
        w2 = 0x0100007f; *(u32 *)(r1 + 4) = w2; w2 = 0x15c5115c; *(u32 *)(r1 + 24) = w2
        r0 = 1; exit
        deny: r0 = 0; exit";
    let mut context = SockAddrContext::tcp(v4());
    assert_eq!(run(CONNECT4.0, CONNECT4.1, text, &mut context), Ok(1));
    assert_eq!(context.addr, SockAddr::Inet("127.0.0.1:23569".parse().expect("an address")));
    assert!(context.allowed());
    let mut context = SockAddrContext::udp(v4());
    assert_eq!(run(CONNECT4.0, CONNECT4.1, text, &mut context), Ok(0));
    assert_eq!((context.retval, context.addr), (-Errno::EPERM.0, SockAddr::Inet(v4())));
}

#[test]
fn an_address_shows_what_is_of_the_attach_types_family() {
    let addr6: SocketAddr = "[face:b00c::1]:6060".parse().expect("an address");
    for ((prog_type, attach_type), text, good) in [
        (CONNECT4, "r0 = *(u32 *)(r1 + 8); r0 = 1; exit", false),
        (CONNECT4, "r0 = *(u32 *)(r1 + 40); r0 = 1; exit", false),
        (CONNECT6, "r0 = *(u32 *)(r1 + 4); r0 = 1; exit", false),
        (CONNECT6, "r0 = *(u64 *)(r1 + 8); *(u64 *)(r1 + 16) = r0; r0 = 1; exit", true),
        (CONNECT6, "r0 = *(u64 *)(r1 + 12); r0 = 1; exit", false),
        (CONNECT6, "r0 = *(u16 *)(r1 + 22); r0 = 1; exit", true),
        (CONNECT6, "*(u16 *)(r1 + 22) = 1; r0 = 1; exit", false),
        (CONNECT6, "*(u32 *)(r1 + 28) = 1; r0 = 1; exit", false),
        (CONNECT6, "*(u16 *)(r1 + 24) = 1; r0 = 1; exit", false),
        (CONNECT6, "r0 = *(u32 *)(r1 + 64); r0 = 1; exit", false),
    ] {
        let mut context = SockAddrContext::tcp(if attach_type == CONNECT4.1 { v4() } else { addr6 });
        assert_eq!(run(prog_type, attach_type, text, &mut context).is_ok(), good, "{text}");
    }
    let sendmsg = AttachType::CgroupUdp4Sendmsg;
    let mut context = SockAddrContext::udp(v4());
    context.src = Some([10, 0, 0, 1].into());
    let text = "r2 = *(u32 *)(r1 + 40); r2 += 0x1000000; *(u32 *)(r1 + 40) = r2; r0 = 1; exit";
    assert_eq!(run(ProgType::CgroupSockAddr, sendmsg, text, &mut context), Ok(1));
    assert_eq!(context.src, Some([10, 0, 0, 2].into()));
}

#[test]
fn bind_may_be_let_off_the_rights() {
    for (r0, retval, without) in [(1, 0, false), (3, 0, true), (0, -1, false), (2, -1, true)] {
        let mut context = SockAddrContext::tcp(v4());
        let text = format!("r0 = {r0}; exit");
        assert_eq!(run(ProgType::CgroupSockAddr, AttachType::CgroupInet4Bind, &text, &mut context), Ok(r0));
        assert_eq!((context.retval, context.bind_without_cap), (retval, without), "{r0}");
    }
}

/// `bpf_bind` of a source address, as connect4_prog.c does it, and what it refuses.
#[test]
fn connect_binds_the_source() {
    let text = |ip: u32, port: u16, len: u32| {
        format!(
            "r2 = r10; r2 += -16; r3 = {}; *(u32 *)(r2 + 0) = r3; w3 = {ip:#x}; *(u32 *)(r2 + 4) = r3; r3 = 0
             *(u64 *)(r2 + 8) = r3; r3 = {len}; call 64; exit",
            2 | u32::from(port.swap_bytes()) << 16
        )
    };
    let taken = Socket {
        family: 2,
        sock_type: 1,
        protocol: 6,
        local_ip4: [127, 0, 0, 4],
        local_port: 22222,
        ..Socket::default()
    };
    for (ip, port, len, errno) in [
        (0x0400_007f, 22223, 16, 0),
        (0x0400_007f, 0, 16, 0),
        (0x0400_007f, 22222, 16, Errno::EADDRINUSE.0),
        (0x0400_0008, 22223, 16, Errno::EADDRNOTAVAIL.0),
        (0x0400_007f, 22223, 15, Errno::EINVAL.0),
    ] {
        let mut world = World::default();
        world.net.sockets.push(taken.clone());
        let kernel = Kernel::new(world);
        let mut process = kernel.process(CONNECT4.0, CONNECT4.1, &text(ip, port, len));
        let mut context = SockAddrContext::tcp(v4());
        let r0 = process.run(&mut context).expect("it runs").r0;
        assert_eq!(r0 as i32, -errno, "{ip:#x}:{port}");
        let expected = if errno == 0 { ([127, 0, 0, 4], port) } else { ([0; 4], 0) };
        assert_eq!((context.sock.local_ip4, context.sock.local_port), expected);
    }
}

#[test]
fn a_socket_is_the_context() {
    let text = "r2 = *(u32 *)(r1 + 4); if w2 != 2 goto deny; w2 = 123; *(u32 *)(r1 + 16) = w2
        *(u32 *)(r1 + 0) = 5; *(u32 *)(r1 + 20) = 7; r6 = r1; call 46; if r0 == 0 goto deny; r0 = 1; exit
        deny: r0 = 0; exit";
    let sock = Socket { family: 2, sock_type: 2, protocol: 17, ..Socket::default() };
    let create = AttachType::CgroupInetSockCreate;
    let mut context = SockContext::new(sock.clone());
    assert_eq!(run(ProgType::CgroupSock, create, text, &mut context), Ok(1));
    let sock_after = &context.sock;
    assert_eq!((sock_after.mark, sock_after.bound_dev_if, sock_after.priority), (123, 5, 7));
    // post_bind reads the address, and may not write.
    let bound = Socket { local_ip4: [127, 0, 0, 1], local_port: 4098, ..sock };
    let post = AttachType::CgroupInet4PostBind;
    let text = "r0 = *(u32 *)(r1 + 24); r2 = *(u32 *)(r1 + 44); r0 += r2; exit";
    let expected = 0x0100_007f + 4098;
    assert_eq!(run(ProgType::CgroupSock, post, text, &mut SockContext::new(bound.clone())), Ok(expected));
    let text = "*(u32 *)(r1 + 16) = 1; r0 = 1; exit";
    assert!(run(ProgType::CgroupSock, post, text, &mut SockContext::new(bound.clone())).is_err());
    assert!(
        run(ProgType::CgroupSock, create, "r0 = *(u32 *)(r1 + 24); exit", &mut SockContext::new(bound))
            .is_err()
    );
}

#[test]
fn a_socket_of_the_world_stays_there() {
    let mut world = World::default();
    world.net.sockets.push(Socket { cookie: 9, family: 2, ..Socket::default() });
    let kernel = Kernel::new(world);
    let mut process = kernel.process(
        ProgType::CgroupSock,
        AttachType::CgroupInetSockCreate,
        "*(u32 *)(r1 + 16) = 77; r0 = 1; exit",
    );
    let mut own = SockContext::new(Socket::default());
    let mut known = SockContext::new(Socket { cookie: 9, ..Socket::default() });
    for _ in 0..2 {
        process.run(&mut own).expect("it runs");
        process.run(&mut known).expect("it runs");
    }
    assert_eq!((known.sock.family, known.sock.mark), (2, 77));
    assert_eq!(kernel.linux().sockets().get(9).map(|sock| sock.mark), Some(77));
    process.run(&mut SockContext::new(Socket::default())).expect("it runs");
    assert_eq!(kernel.linux().sockets().all().len(), 2, "what contexts brought goes with them");
}

const SETSOCKOPT: (ProgType, AttachType) = (ProgType::CgroupSockopt, AttachType::CgroupSetsockopt);
const GETSOCKOPT: (ProgType, AttachType) = (ProgType::CgroupSockopt, AttachType::CgroupGetsockopt);

#[test]
fn setsockopt_is_changed_done_or_refused() {
    let end = |text: &str, optval: &[u8]| {
        let mut context = SockoptContext::set(Socket::default(), 1, 7, optval);
        run(SETSOCKOPT.0, SETSOCKOPT.1, text, &mut context).map(|_| context.set_end())
    };
    let kernel = |level, optname, optval: Option<&[u8]>| {
        Ok(Ok(SetsockoptEnd::Kernel { level, optname, optval: optval.map(<[u8]>::to_vec) }))
    };
    // Untouched, the kernel gets the value as the program left it.
    assert_eq!(end("r0 = 1; exit", &[1, 2, 3, 4]), kernel(1, 7, Some(&[1, 2, 3, 4])));
    assert_eq!(end("r0 = 0; exit", &[1, 2, 3, 4]), Ok(Err(Errno::EPERM)));
    assert_eq!(end("*(u32 *)(r1 + 32) = -1; r0 = 1; exit", &[1]), Ok(Ok(SetsockoptEnd::Done)));
    assert_eq!(end("*(u32 *)(r1 + 32) = -2; r0 = 1; exit", &[1]), Ok(Err(Errno::EFAULT)));
    assert_eq!(end("*(u32 *)(r1 + 32) = 17; r0 = 1; exit", &[1]), Ok(Err(Errno::EFAULT)));
    assert_eq!(end("*(u32 *)(r1 + 32) = 0; r0 = 1; exit", &[1]), kernel(1, 7, None));
    assert_eq!(
        end("*(u32 *)(r1 + 24) = 6; *(u32 *)(r1 + 28) = 1; r0 = 1; exit", &[1]),
        kernel(6, 1, Some(&[1]))
    );
    // A short value has room for 16 bytes.
    let room = "r2 = *(u64 *)(r1 + 8); r3 = *(u64 *)(r1 + 16); r4 = r3; r4 -= r2; if r4 != 16 goto out
        *(u8 *)(r2 + 15) = 9; *(u32 *)(r1 + 32) = 16; r0 = 1; exit; out: r0 = 0; exit";
    let expected = [1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    assert_eq!(end(room, &[1, 2]), kernel(1, 7, Some(&expected)));
    // Of a long one a page is seen, and the kernel gets the user's own if the program leaves the length.
    assert_eq!(end("r0 = 1; exit", &[1; 5000]), kernel(1, 7, None));
    let beyond = "r2 = *(u64 *)(r1 + 16); r0 = *(u8 *)(r2 + 0); exit";
    assert!(end(beyond, &[1]).is_err());
    assert!(end("r0 = *(u32 *)(r1 + 36); exit", &[1]).is_err(), "setsockopt has no retval to read");
}

#[test]
fn getsockopt_sees_the_kernels_answer() {
    let run = |text: &str, mut context: SockoptContext| {
        run(GETSOCKOPT.0, GETSOCKOPT.1, text, &mut context).map(|_| (context.get_end(), context.retval))
    };
    let answer = || SockoptContext::get(Socket::default(), 1, 7, &[5, 0, 0, 0]);
    assert_eq!(run("r0 = 1; exit", answer()), Ok((Ok(Some(vec![5, 0, 0, 0])), 0)));
    assert_eq!(run("r0 = 0; exit", answer()), Ok((Err(Errno::EPERM), -1)));
    let set = "r2 = *(u64 *)(r1 + 8); *(u8 *)(r2 + 0) = 0x5a; *(u32 *)(r1 + 32) = 1; r0 = 1; exit";
    assert_eq!(run(set, answer()), Ok((Ok(Some(vec![0x5a])), 0)));
    // An option that the kernel does not have, answered by the program.
    let mine = "r2 = *(u32 *)(r1 + 36); if w2 != -92 goto out; *(u32 *)(r1 + 36) = 0; r2 = *(u64 *)(r1 + 8)
        *(u8 *)(r2 + 0) = 1; *(u32 *)(r1 + 32) = 1; r0 = 1; exit; out: r0 = 0; exit";
    let failed = || SockoptContext::get_failed(Socket::default(), 1, 99, 4, Errno::ENOPROTOOPT);
    assert_eq!(run(mine, failed()), Ok((Ok(Some(vec![1])), 0)));
    assert_eq!(run("r0 = 1; exit", failed()), Ok((Err(Errno::ENOPROTOOPT), -92)));
    assert_eq!(run("r0 = 0; exit", failed()), Ok((Err(Errno::ENOPROTOOPT), -92)));
    assert_eq!(run("*(u32 *)(r1 + 32) = 5; r0 = 1; exit", answer()), Ok((Err(Errno::EFAULT), 0)));
    assert!(
        run("*(u32 *)(r1 + 24) = 5; r0 = 1; exit", answer()).is_err(),
        "only setsockopt changes the option"
    );
    // bpf_set_retval and the field are the same.
    let set = "r6 = r1; r1 = -61; call 187; r0 = *(u32 *)(r6 + 36); if w0 != -61 goto out; r0 = 1; exit; out: r0 = 0; exit";
    assert_eq!(run(set, answer()), Ok((Err(Errno(61)), -61)));
}

/// The cases of the selftest cgroup_getset_retval: what one program sets the next one sees, and an error is not made EPERM.
#[test]
fn programs_of_a_group_run_one_after_the_other() {
    let kernel = Kernel::new(World::default());
    let process = |text: &str| kernel.process(SETSOCKOPT.0, SETSOCKOPT.1, text);
    let set = |value: i32| format!("r1 = {value}; call 187; r0 = 1; exit");
    let deny = "r0 = 0; exit";
    let get = "call 186; r6 = r0; if r6 == -14 goto out; r0 = 0; exit; out: r0 = 1; exit";
    for (texts, retval) in [
        (vec![set(-14)], -14),
        (vec![set(-14), get.to_owned()], -14),
        (vec![set(-14), deny.to_owned()], -14),
        (vec![deny.to_owned(), set(-14)], -14),
        (vec![deny.to_owned(), set(0)], 0),
        (vec![deny.to_owned()], -1),
    ] {
        let mut processes: Vec<Process> = texts.iter().map(|text| process(text)).collect();
        let mut context = SockoptContext::set(Socket::default(), 1, 7, &[0; 4]);
        let outcomes = run_cgroup(&mut processes, &mut context).expect("they run");
        assert_eq!((outcomes.len(), context.retval), (texts.len(), retval), "{texts:?}");
    }
}

const SYSCTL: (ProgType, AttachType) = (ProgType::CgroupSysctl, AttachType::CgroupSysctl);

/// What a helper answers, for a buffer of this length, and what it leaves there.
fn sysctl(helper: u32, len: usize, flags: u32, mut context: SysctlContext) -> (i32, Vec<u8>) {
    let mut world = World::default();
    world.sysctls.insert("net/ipv4/tcp_mem".into(), "500 1000 1500".into());
    let text = format!(
        "r2 = r10; r2 += -32; r3 = -1; *(u64 *)(r2 + 0) = r3; *(u64 *)(r2 + 8) = r3; *(u64 *)(r2 + 16) = r3
         r6 = r2; r3 = {len}; r4 = {flags}; call {helper}; exit"
    );
    let kernel = Kernel::new(world);
    let mut process = kernel.process(SYSCTL.0, SYSCTL.1, &text);
    let r0 = process.run(&mut context).expect("it runs").r0;
    let mut bytes = vec![0; len];
    let stack = process.at().regs[6];
    process.view().read(stack, &mut bytes).expect("the stack");
    (r0 as i32, bytes)
}

/// The cases of the selftest test_sysctl.
#[test]
fn sysctls_are_read_by_name_and_value() {
    let mem = || SysctlContext::read("net/ipv4/tcp_mem");
    assert_eq!(sysctl(101, 8, 1, mem()), (7, b"tcp_mem\0".to_vec()));
    assert_eq!(sysctl(101, 7, 1, mem()), (-7, b"tcp_me\0".to_vec()));
    assert_eq!(sysctl(101, 17, 0, mem()), (16, b"net/ipv4/tcp_mem\0".to_vec()));
    assert_eq!(sysctl(101, 16, 0, mem()), (-7, b"net/ipv4/tcp_me\0".to_vec()));
    assert_eq!(sysctl(101, 7, 0, mem()), (-7, b"net/ip\0".to_vec()));
    assert_eq!(sysctl(102, 16, 0, mem()), (14, b"500 1000 1500\n\0\0".to_vec()));
    assert_eq!(sysctl(102, 15, 0, mem()), (14, b"500 1000 1500\n\0".to_vec()));
    assert_eq!(sysctl(102, 8, 0, mem()), (-7, b"500 100\0".to_vec()));
    assert_eq!(sysctl(102, 8, 0, SysctlContext::read("kernel/none")), (-22, vec![0; 8]));
    assert_eq!(sysctl(103, 8, 0, mem()), (-22, vec![0; 8]));
    let write = || SysctlContext::write("net/ipv4/route/mtu_expires", "606");
    assert_eq!(sysctl(103, 4, 0, write()), (3, b"606\0".to_vec()));
    assert_eq!(sysctl(103, 3, 0, write()), (-7, b"60\0".to_vec()));
    assert_eq!(sysctl(104, 4, 0, mem()).0, -22);
}

#[test]
fn sysctls_are_written_as_programs_want() {
    let text = "r2 = *(u32 *)(r1 + 0); if w2 != 1 goto out; *(u32 *)(r1 + 4) = 3; w3 = 0x303036
        *(u64 *)(r10 - 8) = r3; r2 = r10; r2 += -8; r3 = 3; call 104; if r0 != 0 goto out; r0 = 1; exit; out: r0 = 0; exit";
    let mut context = SysctlContext::write("net/ipv4/route/mtu_expires", "606");
    assert_eq!(run(SYSCTL.0, SYSCTL.1, text, &mut context), Ok(1));
    assert_eq!((context.new.as_deref(), context.replaced, context.pos), (Some(&b"600"[..]), true, 3));
    let mut context = SysctlContext::read("net/ipv4/route/mtu_expires");
    assert_eq!(run(SYSCTL.0, SYSCTL.1, text, &mut context), Ok(0));
    assert_eq!(context.retval, -1);
}

#[test]
fn devices_are_told_by_kind_numbers_and_access() {
    // /dev/zero may be read and written, and not made.
    let text = "r2 = *(u32 *)(r1 + 0); r3 = *(u32 *)(r1 + 4); r4 = *(u32 *)(r1 + 8); r5 = *(u16 *)(r1 + 0); r0 = 0
        if w5 != 2 goto out; if w3 != 1 goto out; if w4 != 5 goto out; w2 >>= 16; w2 &= 1; if w2 != 0 goto out; r0 = 1
        out: exit";
    let check = |mut context: DeviceContext| {
        run(ProgType::CgroupDevice, AttachType::CgroupDevice, text, &mut context).expect("it runs");
        context.retval
    };
    assert_eq!(check(DeviceContext::open(DeviceKind::Char, 1, 5)), 0);
    assert_eq!(check(DeviceContext::mknod(DeviceKind::Char, 1, 5)), -1);
    assert_eq!(check(DeviceContext::open(DeviceKind::Block, 1, 5)), -1);
    let write = "*(u32 *)(r1 + 0) = 1; r0 = 1; exit";
    let mut context = DeviceContext::default();
    assert!(run(ProgType::CgroupDevice, AttachType::CgroupDevice, write, &mut context).is_err());
}

/// Options of a socket: what is set, and what it reads as (socket(7), tcp(7), and what the kernel rounds).
#[test]
fn options_are_set_and_read() {
    let kernel = Kernel::new(World::default());
    let option = |call: u32, level: i32, name: i32, value: i32, len: u32| {
        let text = format!(
            "r4 = r10; r4 += -16; *(u64 *)(r4 + 8) = 0; r3 = {value}; *(u64 *)(r4 + 0) = r3; r2 = {level}; r3 = {name}; r6 = r4
             r5 = {len}; call {call}; r6 = *(u64 *)(r6 + 0); exit"
        );
        let mut context = SockAddrContext::tcp(v4());
        context.sock.cookie = 77;
        let mut process = kernel.process(CONNECT4.0, CONNECT4.1, &text);
        let r0 = process.run(&mut context).expect("it runs").r0 as i32;
        (r0, process.at().regs[6])
    };
    kernel.linux().add_socket(Socket {
        cookie: 77,
        family: 2,
        sock_type: 1,
        protocol: 6,
        ..Socket::default()
    });
    for (level, name, value, expected) in [
        (1, 7, 1000, 4608),
        (1, 7, 1 << 30, 8 << 20),
        (1, 9, 5, 1),
        (1, 36, 7, 7),
        (1, 12, 6, 6),
        (1, 18, 0, 1),
        (0, 1, 0x10, 0x10),
        (6, 4, 31, 31),
        (6, 1, 1, 1),
        (6, 2, 1314, 1314),
        (6, 44, 1000, 1000),
        (6, 1004, 100_000, 100_000),
    ] {
        assert_eq!(option(49, level, name, value, 4).0, 0, "{level} {name}");
        assert_eq!(option(57, level, name, 0, 4), (0, expected), "{level} {name}");
    }
    for (level, name, value, len, errno) in [
        (6, 4, 0, 4, 22),
        (6, 2, 87, 4, 22),
        (1, 99, 0, 4, 22),
        (1, 36, 0, 8, 22),
        (41, 67, 0, 4, 22),
        (6, 13, 0x78, 8, 2),
    ] {
        assert_eq!(option(49, level, name, value, len).0, -errno, "{level} {name}");
    }
    assert_eq!(option(57, 6, 13, -1, 8), (0, u64::from_le_bytes(*b"cubic\0\0\0")));
    assert_eq!(option(57, 1, 99, -1, 8), (-22, 0), "what is not there reads as zeros");
}

/// Compiled code has the same rights, and leaves the same behind.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn compiled_programs_see_the_same_contexts() {
    use mimic_vm::{Checks, Engine};
    let addr6: SocketAddr = "[face:b00c::1]:6060".parse().expect("an address");
    let texts = [
        "r2 = *(u64 *)(r1 + 8); r3 = *(u64 *)(r1 + 16); *(u64 *)(r1 + 8) = r3; *(u64 *)(r1 + 16) = r2; r0 = 1; exit",
        "r2 = *(u32 *)(r1 + 12); *(u32 *)(r1 + 20) = r2; w2 = 0x12345678; *(u32 *)(r1 + 24) = w2; r0 = 1; exit",
        "r0 = *(u16 *)(r1 + 22); r2 = *(u64 *)(r1 + 64); r3 = *(u32 *)(r2 + 12); r0 += r3; exit",
        "*(u16 *)(r1 + 22) = 1; r0 = 1; exit",
        "r0 = *(u32 *)(r1 + 4); exit",
        "r0 = *(u64 *)(r1 + 12); exit",
        "r6 = r1; r1 = -61; call 187; r2 = r6; r2 += 4; *(u32 *)(r2 + 4) = 7; r0 = 0; exit",
    ];
    let run = |engine, checks, text: &str| {
        let mut process = Kernel::new(World::default()).process(CONNECT6.0, CONNECT6.1, text);
        process.set_engine(engine, checks);
        let mut context = SockAddrContext::tcp(addr6);
        let r0 = process.run(&mut context).map(|outcome| outcome.r0).map_err(|error| error.to_string());
        (r0, context.addr, context.retval)
    };
    for text in texts {
        let expected = run(Engine::Interp, Checks::Precise, text);
        for checks in [Checks::Precise, Checks::Cage] {
            assert_eq!(run(Engine::Jit, checks, text), expected, "{text} ({checks:?})");
        }
    }
}
