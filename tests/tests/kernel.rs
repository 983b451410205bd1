//! The oracle's own tests: each part of the bpf(2) wrapper does what it says.
#![cfg(target_os = "linux")]

use mimic_abi::Errno;
use mimic_tests::kernel::sys::BatchCmd;
use mimic_tests::kernel::{
    Kernel, Map, MapAttr, MapKind, PerfReader, Prog, ProgAttr, RingReader, TestRunAttr, UserRing,
    possible_cpus,
};

const SOCKET_FILTER: u32 = 1;
const XDP: u32 = 6;
const SYSCALL: u32 = 31;

#[test]
fn hash_elements() {
    let Some(_kernel) = Kernel::or_skip() else { return };
    let map = make(MapKind::HASH, 4, 8, 4);
    for key in 0..4u32 {
        map.update(&key.to_ne_bytes(), &u64::from(key * 10).to_ne_bytes(), 0).unwrap();
    }
    assert_eq!(map.update(&9u32.to_ne_bytes(), &[0; 8], 0), Err(Errno::E2BIG));
    assert_eq!(map.update(&1u32.to_ne_bytes(), &[0; 8], 1), Err(Errno::EEXIST));
    assert_eq!(map.lookup(&2u32.to_ne_bytes()), Ok(20u64.to_ne_bytes().to_vec()));
    assert_eq!(map.lookup_and_delete(&2u32.to_ne_bytes(), 0), Ok(20u64.to_ne_bytes().to_vec()));
    assert_eq!(map.delete(&2u32.to_ne_bytes()), Err(Errno::ENOENT));
    let mut keys: Vec<u32> = map.keys().unwrap().iter().map(|key| word(key)).collect();
    keys.sort_unstable();
    assert_eq!(keys, [0, 1, 3]);
    map.freeze().unwrap();
    assert_eq!(map.delete(&1u32.to_ne_bytes()), Err(Errno::EPERM));
}

#[test]
fn batches() {
    let Some(_kernel) = Kernel::or_skip() else { return };
    let map = make(MapKind::ARRAY, 4, 4, 8);
    let (mut keys, mut values) = (bytes(&[1, 3, 5]), bytes(&[11, 33, 55]));
    assert_eq!(map.batch(BatchCmd::Update, None, &mut keys, &mut values, 0), (3, Ok(())));
    let (mut keys, mut values, mut token) = (vec![0; 20], vec![0; 20], Vec::new());
    assert_eq!(map.batch(BatchCmd::Lookup, Some(&mut token), &mut keys, &mut values, 0), (5, Ok(())));
    assert_eq!((keys, values), (bytes(&[0, 1, 2, 3, 4]), bytes(&[0, 11, 0, 33, 0])));
    let (mut keys, mut values) = (vec![0; 20], vec![0; 20]);
    let rest = map.batch(BatchCmd::Lookup, Some(&mut token), &mut keys, &mut values, 0);
    assert_eq!(rest, (3, Err(Errno::ENOENT)));
    assert_eq!(values[..12], bytes(&[55, 0, 0]));
}

#[test]
fn percpu_values_are_one_a_cpu() {
    let Some(_kernel) = Kernel::or_skip() else { return };
    let map = make(MapKind::PERCPU_ARRAY, 4, 4, 1);
    let value: Vec<u8> = (0..possible_cpus() as u64).flat_map(u64::to_ne_bytes).collect();
    map.update(&[0; 4], &value, 0).unwrap();
    assert_eq!(map.lookup(&[0; 4]), Ok(value));
}

#[test]
fn array_in_shared_memory() {
    let Some(_kernel) = Kernel::or_skip() else { return };
    const MMAPABLE: u32 = 1 << 10;
    let map = Map::create(&MapAttr { map_flags: MMAPABLE, ..attr(MapKind::ARRAY, 4, 8, 3) }).unwrap();
    let pages = map.mmap(true).unwrap();
    pages.write(16, &7u64.to_ne_bytes());
    assert_eq!(map.lookup(&2u32.to_ne_bytes()), Ok(7u64.to_ne_bytes().to_vec()));
}

/// r0 = the packet's length; the packet comes back as it went in.
#[test]
fn test_run_of_a_packet() {
    let Some(_kernel) = Kernel::or_skip() else { return };
    // w0 = [r1+4] (data_end); w2 = [r1+0] (data); r0 -= r2; exit
    let prog = load(XDP, &[insn(0x61, 0, 1, 4, 0), insn(0x61, 2, 1, 0, 0), insn(0x1f, 0, 2, 0, 0), EXIT], 0)
        .unwrap();
    let answer =
        prog.test_run(&TestRunAttr { data_in: Some(&[5; 60]), data_size_out: 64, ..TestRunAttr::default() });
    assert_eq!((answer.errno, answer.retval, answer.data_out), (0, 60, vec![5; 60]));
    let short =
        prog.test_run(&TestRunAttr { data_in: Some(&[5; 60]), data_size_out: 10, ..TestRunAttr::default() });
    assert_eq!((short.errno, short.data_size_out, short.data_out), (Errno::ENOSPC.0, 60, vec![5; 10]));
    assert_eq!(
        prog.test_run(&TestRunAttr { data_in: Some(&[5; 10]), ..TestRunAttr::default() }).errno,
        Errno::EINVAL.0
    );
}

#[test]
fn syscall_context_comes_back_in_place() {
    let Some(_kernel) = Kernel::or_skip() else { return };
    const SLEEPABLE: u32 = 1 << 4;
    // *(u32 *)(r1 + 0) = 7; w0 = 3; exit
    let prog = load(SYSCALL, &[insn(0x62, 1, 0, 0, 7), insn(0xb4, 0, 0, 0, 3), EXIT], SLEEPABLE).unwrap();
    let answer = prog.test_run(&TestRunAttr { ctx_in: Some(&[1; 8]), ..TestRunAttr::default() });
    assert_eq!((answer.errno, answer.retval), (0, 3));
    assert_eq!(answer.ctx_in_after, [7u32.to_ne_bytes(), [1; 4]].concat());
}

#[test]
fn a_refusal_has_its_log() {
    let Some(_kernel) = Kernel::or_skip() else { return };
    let attr = ProgAttr {
        prog_type: SOCKET_FILTER,
        insns: &EXIT.to_ne_bytes(),
        license: "GPL",
        ..ProgAttr::default()
    };
    let refusal = Prog::load_or_explain(&attr).unwrap_err();
    assert_eq!(refusal.errno, Errno::EACCES);
    assert!(refusal.log.contains("R0 !read_ok"), "{refusal}");
}

#[test]
fn ring_buffer_records() {
    let Some(_kernel) = Kernel::or_skip() else { return };
    let map = make(MapKind::RINGBUF, 0, 0, 4096);
    let mut reader = RingReader::new(&map).unwrap();
    // *(u64 *)(r10 - 8) = 42; bpf_ringbuf_output(&map, r10 - 8, 5, 0)
    let insns = [
        &[insn(0x7a, 10, 0, -8, 42)],
        &map_in_r1(&map)[..],
        &[
            insn(0xbf, 2, 10, 0, 0),
            insn(0x07, 2, 0, 0, -8),
            insn(0xb7, 3, 0, 0, 5),
            insn(0xb7, 4, 0, 0, 0),
            insn(0x85, 0, 0, 0, 130),
            EXIT,
        ],
    ];
    let prog = load(XDP, &insns.concat(), 0).unwrap();
    // 400 records of 16 bytes: more than the ring holds, so taken in between.
    for _ in 0..2 {
        let answer =
            prog.test_run(&TestRunAttr { data_in: Some(&[0; 64]), repeat: 200, ..TestRunAttr::default() });
        assert_eq!((answer.errno, answer.retval), (0, 0));
        assert_eq!(reader.take(), vec![42u64.to_ne_bytes()[..5].to_vec(); 200]);
    }
    assert!(reader.take().is_empty());
}

#[test]
fn user_ring_buffer_fills() {
    let Some(_kernel) = Kernel::or_skip() else { return };
    let map = make(MapKind::USER_RINGBUF, 0, 0, 4096);
    let mut ring = UserRing::new(&map).unwrap();
    for _ in 0..4096 / 16 {
        ring.submit(&[1, 2, 3]).unwrap();
    }
    assert_eq!(ring.submit(&[]), Err(Errno::ENOSPC));
}

#[test]
fn perf_samples() {
    let Some(kernel) = Kernel::or_skip() else { return };
    let map = make(MapKind::PERF_EVENT_ARRAY, 4, 4, possible_cpus() as u32);
    let mut reader = PerfReader::new(&map, 0).unwrap();
    // bpf_perf_event_output(ctx, &map, BPF_F_CURRENT_CPU, r10 - 8, 8)
    let insns = [
        &[insn(0x7a, 10, 0, -8, 42), insn(0xbf, 6, 1, 0, 0)],
        &map_in_r1(&map)[..],
        &[
            insn(0xbf, 2, 1, 0, 0),
            insn(0xbf, 1, 6, 0, 0),
            insn(0x18, 3, 0, 0, -1),
            insn(0, 0, 0, 0, 0),
            insn(0xbf, 4, 10, 0, 0),
            insn(0x07, 4, 0, 0, -8),
            insn(0xb7, 5, 0, 0, 8),
            insn(0x85, 0, 0, 0, 25),
            EXIT,
        ],
    ];
    let prog = load(XDP, &insns.concat(), 0).unwrap();
    let attr = TestRunAttr { data_in: Some(&[0; 64]), ..TestRunAttr::default() };
    let answer = kernel.in_empty_netns(|| prog.test_run(&attr));
    assert_eq!((answer.errno, answer.retval), (0, 0));
    let samples = reader.take();
    // The kernel pads a sample so that the next one is aligned.
    assert_eq!(samples, [[42u64.to_ne_bytes().to_vec(), vec![0; 4]].concat()]);
}

#[test]
fn the_namespace_is_empty() {
    let Some(kernel) = Kernel::or_skip() else { return };
    let devices = || std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let inside = kernel.in_empty_netns(devices);
    assert_eq!(
        inside.lines().skip(2).map(|line| line.trim().split(':').next().unwrap()).collect::<Vec<_>>(),
        ["lo"]
    );
}

const EXIT: u64 = if cfg!(target_endian = "little") { 0x95 } else { 0x95 << 56 };

/// One slot in the host's byte order.
fn insn(opcode: u8, dst: u8, src: u8, off: i16, imm: i32) -> u64 {
    let regs = if cfg!(target_endian = "little") { src << 4 | dst } else { dst << 4 | src };
    let [o0, o1] = off.to_ne_bytes();
    let [i0, i1, i2, i3] = imm.to_ne_bytes();
    u64::from_ne_bytes([opcode, regs, o0, o1, i0, i1, i2, i3])
}

fn map_in_r1(map: &Map) -> [u64; 2] {
    use std::os::fd::AsRawFd;
    [insn(0x18, 1, 1, 0, map.as_raw_fd()), 0]
}

fn load(prog_type: u32, insns: &[u64], prog_flags: u32) -> Result<Prog, impl std::error::Error> {
    let insns: Vec<u8> = insns.iter().copied().flat_map(u64::to_ne_bytes).collect();
    Prog::load_or_explain(&ProgAttr {
        prog_type,
        insns: &insns,
        license: "GPL",
        prog_flags,
        ..ProgAttr::default()
    })
}

fn attr(kind: MapKind, key_size: u32, value_size: u32, max_entries: u32) -> MapAttr {
    MapAttr { map_type: kind.0, key_size, value_size, max_entries, ..MapAttr::default() }
}

fn make(kind: MapKind, key_size: u32, value_size: u32, max_entries: u32) -> Map {
    Map::create(&attr(kind, key_size, value_size, max_entries)).unwrap()
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_ne_bytes(bytes.try_into().unwrap())
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().copied().flat_map(u32::to_ne_bytes).collect()
}
