//! Maps as programs use them, against the real kernel: random programs of map operations run in both; what the helpers answer, what values show
//! (also those of elements that were replaced or removed meanwhile), and what the maps hold afterwards must be equal.
#![cfg(target_os = "linux")]

use mimic_abi::asm::assemble;
use mimic_abi::{ByteOrder, MapType, RawInsn};
use mimic_linux::Linux;
use mimic_linux::maps::{LinuxMap, Ringbuf};
use mimic_object::{MapSpec, Program, Ref, RefTarget};
use mimic_tests::engines::engines;
use mimic_tests::kernel::{Kernel, Map, MapAttr, Prog, ProgAttr, RingReader, TestRunAttr, possible_cpus};
use mimic_vm::{MapRef, RawContext, Vm};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const XDP: u32 = 6;
const ZERO_SEED: u32 = 1 << 6;

/// A map in the kernel and one of ours, in a VM of its own.
struct Pair {
    kernel: Map,
    vm: Arc<Vm>,
    ours: Arc<MapRef>,
    turn: AtomicUsize,
}

impl Pair {
    fn new(kind: MapType, key_size: u32, value_size: u32, max_entries: u32, map_flags: u32) -> Pair {
        let attr = MapAttr {
            map_type: kind.id(),
            key_size,
            value_size,
            max_entries,
            map_flags,
            ..MapAttr::default()
        };
        let vm = Vm::builder(Linux::default()).cpus(possible_cpus() as u32).build().expect("address space");
        let spec = MapSpec {
            map_type: kind.id(),
            key_size,
            value_size,
            max_entries,
            map_flags,
            ..MapSpec::default()
        };
        let ours = vm.create_map(&spec).unwrap_or_else(|error| panic!("{error}"));
        Pair { kernel: Map::create(&attr).expect("the kernel makes it"), vm, ours, turn: AtomicUsize::new(0) }
    }

    /// Runs a program in both; `lddw rN, 0xffff` is the map. Answers the low halves of r0.
    fn run(&self, text: &str) -> (u32, u32) {
        let slots = assemble(text, &()).unwrap_or_else(|errors| panic!("{errors:?}")).slots;
        (self.run_kernel(&slots, text), self.run_ours(slots))
    }

    fn run_kernel(&self, slots: &[RawInsn], text: &str) -> u32 {
        let with_map = |insn: &RawInsn| match (insn.opcode, insn.imm) {
            (0x18, 0xffff) => RawInsn { src: 1, imm: self.kernel.as_raw_fd(), ..*insn },
            _ => *insn,
        };
        let bytes: Vec<u8> =
            slots.iter().flat_map(|insn| with_map(insn).to_bytes(ByteOrder::NATIVE)).collect();
        let attr = ProgAttr { prog_type: XDP, insns: &bytes, license: "GPL", ..ProgAttr::default() };
        let prog = Prog::load_or_explain(&attr).unwrap_or_else(|error| panic!("{text}\n{error}"));
        let answer = prog.test_run(&TestRunAttr { data_in: Some(&[0; 64]), ..TestRunAttr::default() });
        assert_eq!(answer.errno, 0);
        answer.retval
    }

    fn run_ours(&self, code: Vec<RawInsn>) -> u32 {
        let maps = code.iter().enumerate().filter(|(_, insn)| insn.opcode == 0x18 && insn.imm == 0xffff);
        let refs = maps.map(|(pc, _)| Ref { pc: pc as u32, target: RefTarget::Map(0) }).collect();
        let linked = Program { refs, ..Program::from_code("test", code, ByteOrder::NATIVE) };
        let program =
            self.vm.add(linked, std::slice::from_ref(&self.ours)).unwrap_or_else(|error| panic!("{error}"));
        let mut process = self.vm.process(&program, 0).expect("memory");
        // The engines take turns on the same map.
        let engines = engines(ByteOrder::NATIVE);
        let (engine, checks) = engines[self.turn.fetch_add(1, Ordering::Relaxed) % engines.len()];
        process.set_engine(engine, checks);
        let r0 = process.run(&mut RawContext::default()).unwrap_or_else(|error| panic!("{error:?}")).r0;
        drop(process);
        self.vm.remove_program(program.id());
        r0 as u32
    }

    /// All keys with their values, in order.
    fn contents(&self) -> (String, String) {
        let mut ours = Vec::new();
        let mut key: Option<Vec<u8>> = None;
        while let Ok(next) = self.ours.next_key(key.as_deref()) {
            if let Ok(value) = self.ours.lookup_copy(&next, 0) {
                ours.push((next.clone(), value));
            }
            key = Some(next);
        }
        (format!("{:?}", self.kernel.entries().unwrap_or_default()), format!("{ours:?}"))
    }
}

/// Numbers that repeat.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb) % end
    }
}

/// Mixes r0 or r1 into r7.
fn mix(reg: &str) -> String {
    format!("r7 += {reg}\nr7 *= 31\n")
}

/// Puts a key at r10-8.
fn key(dice: &mut Dice, kind: MapType, entries: u32) -> String {
    let number = dice.below(u64::from(entries) * 3 / 2 + 2) as i32;
    match kind {
        MapType::LpmTrie => {
            let prefix = [0, 8, 16, 24, 31, 32, 32, 33][dice.below(8) as usize];
            format!(
                "*(u32 *)(r10 - 8) = {prefix}\n*(u32 *)(r10 - 4) = {}\n",
                10 | (number & 3) << 8 | (number & 1) << 31
            )
        }
        _ => format!("*(u32 *)(r10 - 8) = {number}\n*(u32 *)(r10 - 4) = 0\n"),
    }
}

const MAP_KEY: &str = "r1 = 0xffff ll\nr2 = r10\nr2 += -8\n";

fn update(dice: &mut Dice, kind: MapType, entries: u32) -> String {
    let value = dice.below(1 << 20);
    let flags = [0, 0, 0, 1, 2, 3, 4, 8][dice.below(8) as usize];
    let key = key(dice, kind, entries);
    format!("{key}*(u64 *)(r10 - 16) = {value}\n{MAP_KEY}r3 = r10\nr3 += -16\nr4 = {flags}\ncall 2\n")
        + &mix("r0")
}

fn delete(dice: &mut Dice, kind: MapType, entries: u32) -> String {
    key(dice, kind, entries) + MAP_KEY + "call 3\n" + &mix("r0")
}

/// Looks a key up; if it is there, keeps its address while `between` happens, and reads and adds to the value.
fn look(dice: &mut Dice, kind: MapType, entries: u32, between: &str) -> String {
    let then = format!(
        "r6 = r0\n{between}r1 = *(u64 *)(r6 + 0)\nr7 += r1\nr7 *= 31\nr1 += 3\n*(u64 *)(r6 + 0) = r1\n"
    );
    let slots = assemble(&then, &()).unwrap_or_else(|errors| panic!("{errors:?}")).slots.len();
    key(dice, kind, entries) + MAP_KEY + &format!("call 1\nif r0 == 0 goto +{slots}\n") + &then
}

fn program(dice: &mut Dice, kind: MapType, entries: u32, ops: u64) -> String {
    let mut text = String::from("r7 = 0\n");
    for _ in 0..ops {
        text += &match dice.below(8) {
            0..=2 => update(dice, kind, entries),
            3 => delete(dice, kind, entries),
            4 => look(dice, kind, entries, ""),
            5 => {
                let between = update(dice, kind, entries);
                look(dice, kind, entries, &between)
            }
            6 => {
                let between = delete(dice, kind, entries) + &update(dice, kind, entries);
                look(dice, kind, entries, &between)
            }
            _ => {
                let between = update(dice, kind, entries) + &update(dice, kind, entries);
                look(dice, kind, entries, &between)
            }
        };
    }
    text + "r0 = r7\nexit\n"
}

#[test]
fn random_programs_over_maps() {
    let Some(kernel) = Kernel::or_skip() else { return };
    let maps = [
        (MapType::Array, 4, 8, 5, 0),
        (MapType::PercpuArray, 4, 8, 5, 0),
        (MapType::Hash, 4, 8, 4, ZERO_SEED),
        (MapType::Hash, 8, 8, 7, ZERO_SEED),
        (MapType::Hash, 8, 8, 7, ZERO_SEED | 1),
        (MapType::PercpuHash, 8, 8, 4, ZERO_SEED),
        (MapType::LruHash, 4, 8, 4, ZERO_SEED),
        (MapType::LruHash, 8, 8, 20, ZERO_SEED),
        (MapType::LruHash, 8, 8, 20, ZERO_SEED | 2),
        (MapType::LruPercpuHash, 8, 8, 6, ZERO_SEED),
        (MapType::LpmTrie, 8, 8, 12, 1),
    ];
    kernel.in_empty_netns(|| {
        for (seed, (kind, key_size, value_size, entries, flags)) in maps.into_iter().enumerate() {
            for round in 0..4 {
                let pair = Pair::new(kind, key_size, value_size, entries, flags);
                let mut dice = Dice((seed * 1000 + round) as u64);
                for at in 0..25 {
                    let text = program(&mut dice, kind, entries, 6);
                    let (theirs, ours) = pair.run(&text);
                    let what = format!("{} {flags:#x}, round {round}, program {at}:\n{text}", kind.word());
                    assert_eq!(theirs, ours, "r0 of {what}");
                    let (theirs, ours) = pair.contents();
                    assert_eq!(theirs, ours, "after {what}");
                }
            }
        }
    });
}

#[test]
fn queues_stacks_and_filters() {
    let Some(kernel) = Kernel::or_skip() else { return };
    kernel.in_empty_netns(|| {
        for (kind, flags) in [(MapType::Queue, 0), (MapType::Stack, 0), (MapType::BloomFilter, ZERO_SEED)] {
            let pair = Pair::new(kind, 0, 8, 3, flags);
            let mut dice = Dice(u64::from(kind.id()));
            for _ in 0..40 {
                let mut text = String::from("r7 = 0\n");
                for _ in 0..8 {
                    let flags = [0, 0, 1, 2, 3, 4][dice.below(6) as usize];
                    text += &format!("*(u64 *)(r10 - 8) = {}\n{MAP_KEY}", dice.below(30));
                    text += &match (dice.below(3), kind) {
                        (0, _) => format!("r3 = {flags}\ncall 87\n"),
                        (1, MapType::Queue | MapType::Stack) => "call 88\n".into(),
                        _ => "call 89\n".to_string(),
                    };
                    text += &(mix("r0") + "r1 = *(u64 *)(r10 - 8)\n" + &mix("r1"));
                }
                let (theirs, ours) = pair.run(&(text.clone() + "r0 = r7\nexit\n"));
                assert_eq!(theirs, ours, "{}:\n{text}", kind.word());
            }
        }
    });
}

/// Records, positions and headers: byte for byte what a user finds in the mapped pages.
#[test]
fn ring_buffers() {
    let Some(kernel) = Kernel::or_skip() else { return };
    kernel.in_empty_netns(|| {
        let pair = Pair::new(MapType::Ringbuf, 0, 0, 4096, 0);
        let mut reader = RingReader::new(&pair.kernel).expect("mapped");
        let ours = (&*pair.ours.map as &dyn std::any::Any).downcast_ref::<LinuxMap<Ringbuf>>().expect("a ring buffer").ops();
        let pages = mimic_tests::kernel::sys::Mapping::new(pair.kernel.as_raw_fd(), 4096, 3 * 4096, false).expect("mapped");
        let mut dice = Dice(9);
        for round in 0..60 {
            let mut text = String::from("r7 = 0\n");
            for at in 0..6 {
                let len = [8, 16, 40, 200, 1000, 3000, 4080, 4088, 5000][dice.below(9) as usize];
                let flags = [0, 0, 1, 2, 3, 4][dice.below(6) as usize];
                let wakeup = flags & 3;
                text += &match dice.below(4) {
                    0 => format!(
                        "*(u64 *)(r10 - 8) = {at}\n{MAP_KEY}r3 = {}\nr4 = {flags}\ncall 130\n{}",
                        1 + dice.below(8),
                        mix("r0")
                    ),
                    1 => format!("r1 = 0xffff ll\nr2 = {flags}\ncall 134\n{}", mix("r0")),
                    kind => {
                        let last = len - 8;
                        let done = if kind == 2 { 132 } else { 133 };
                        format!(
                            "r1 = 0xffff ll\nr2 = {len}\nr3 = 0\ncall 131\nr7 *= 31\nif r0 == 0 goto +6\nr7 += 1\n*(u64 *)(r0 + 0) = {round}\n*(u64 *)(r0 + {last}) = {at}\nr1 = r0\nr2 = {wakeup}\ncall {done}\n"
                        )
                    }
                };
            }
            let (theirs, mine) = pair.run(&(text.clone() + "r0 = r7\nexit\n"));
            assert_eq!(theirs, mine, "round {round}:\n{text}");
            assert_eq!(pages.load(0), ours.positions().producer, "round {round}");
            headers(&pages, ours, round);
            if dice.below(3) > 0 {
                let theirs = reader.take();
                let mine = ours.take();
                let shape = |records: &[Vec<u8>]| {
                    let edges = |record: &Vec<u8>| (record.len(), record.first().copied(), record.iter().rev().nth(7).copied());
                    records.iter().map(edges).collect::<Vec<_>>()
                };
                assert_eq!(shape(&theirs), shape(&mine), "round {round}:\n{text}");
            }
        }
    });
}

/// The headers of all records that were not read yet.
fn headers(pages: &mimic_tests::kernel::sys::Mapping, ours: &Ringbuf, round: u64) {
    let pos = ours.positions();
    let mut at = pos.consumer;
    while at < pos.producer {
        let off = (at % 4096) as u32;
        let mut header = [0; 8];
        ours.region().read(8192 + off, &mut header);
        assert_eq!(pages.read(4096 + off as usize, 8), header, "round {round}, record at {at}");
        let len = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) & (u32::MAX >> 2);
        at += u64::from(len + 8).next_multiple_of(8);
    }
}
