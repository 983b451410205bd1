//! bpf_snprintf_btf against the real kernel: values of its own types, over patterns of bytes and all flags, must read the same.
#![cfg(target_os = "linux")]

use mimic_abi::asm::assemble;
use mimic_abi::btf::{Btf, Kind, TypeId};
use mimic_abi::{ByteOrder, MapType, ProgType, RawInsn};
use mimic_linux::Linux;
use mimic_object::{MapSpec, Program, Ref, RefTarget};
use mimic_tests::kernel::{Kernel, Map, MapAttr, Prog, ProgAttr, TestRunAttr};
use mimic_vm::{MapRef, Process, RawContext, Vm};
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// The map's only value: type id, flags, answer, address (0: that of the data), data, text.
const DATA: usize = 64;
const DATA_LEN: usize = 4096;
const TEXT: usize = DATA + DATA_LEN;
const TEXT_LEN: usize = 49152;
const LEN: usize = TEXT + TEXT_LEN;

fn program(text_len: usize) -> String {
    format!(
        "
        *(u32 *)(r10 - 4) = 0
        r2 = r10
        r2 += -4
        lddw r1, 0xffff
        call 1
        if r0 == 0 goto out
        r6 = r0
        r1 = *(u64 *)(r6 + 24)
        if r1 != 0 goto given
        r1 = r6
        r1 += {DATA}
    given:
        *(u64 *)(r10 - 24) = r1
        r1 = *(u32 *)(r6 + 0)
        *(u64 *)(r10 - 16) = r1
        r5 = *(u64 *)(r6 + 8)
        r1 = r6
        r1 += {TEXT}
        r2 = {text_len}
        r3 = r10
        r3 += -24
        r4 = 16
        call 149
        *(u64 *)(r6 + 16) = r0
    out:
        r0 = 0
        exit"
    )
}

/// What is asked: which type, how, of which bytes.
struct Question<'a> {
    id: u32,
    flags: u64,
    addr: u64,
    data: &'a [u8],
}

struct Both {
    kernel: (Map, Prog),
    ours: (Arc<MapRef>, Process),
    text_len: usize,
}

impl Both {
    fn new(btf: &Arc<Btf>, text_len: usize) -> Both {
        let slots = assemble(&program(text_len), &()).unwrap_or_else(|errors| panic!("{errors:?}")).slots;
        let kind = MapType::Array.id();
        let (key_size, value_size) = (4, LEN as u32);
        let attr = MapAttr { map_type: kind, key_size, value_size, max_entries: 1, ..MapAttr::default() };
        let map = Map::create(&attr).expect("the kernel makes it");
        let with_map = |insn: &RawInsn| match (insn.opcode, insn.imm) {
            (0x18, 0xffff) => RawInsn { src: 1, imm: map.as_raw_fd(), ..*insn },
            _ => *insn,
        };
        let insns: Vec<u8> =
            slots.iter().flat_map(|insn| with_map(insn).to_bytes(ByteOrder::NATIVE)).collect();
        let prog_type = ProgType::RawTracepoint;
        let attr =
            ProgAttr { prog_type: prog_type.id(), insns: &insns, license: "GPL", ..ProgAttr::default() };
        let prog = Prog::load_or_explain(&attr).unwrap_or_else(|error| panic!("{error}"));

        let vm = Vm::builder(Linux::default()).build().expect("address space");
        vm.emulator_as::<Linux>().expect("Linux").offer_btf(btf);
        let spec = MapSpec { map_type: kind, key_size, value_size, max_entries: 1, ..MapSpec::default() };
        let ours = vm.create_map(&spec).unwrap_or_else(|error| panic!("{error}"));
        let refs = slots.iter().enumerate().filter(|(_, insn)| insn.opcode == 0x18 && insn.imm == 0xffff);
        let refs = refs.map(|(pc, _)| Ref { pc: pc as u32, target: RefTarget::Map(0) }).collect();
        let mut linked = Program { refs, ..Program::from_code("test", slots, ByteOrder::NATIVE) };
        linked.prog_type = Some(prog_type);
        let added = vm.add(linked, std::slice::from_ref(&ours)).unwrap_or_else(|error| panic!("{error}"));
        let process = vm.process(&added, 0).expect("memory");
        Both { kernel: (map, prog), ours: (ours, process), text_len }
    }

    /// Answers and texts of both.
    fn ask(&mut self, question: &Question<'_>) -> [(i64, String); 2] {
        let mut value = vec![0; LEN];
        value[..4].copy_from_slice(&question.id.to_ne_bytes());
        value[8..16].copy_from_slice(&question.flags.to_ne_bytes());
        value[24..32].copy_from_slice(&question.addr.to_ne_bytes());
        value[DATA..DATA + question.data.len()].copy_from_slice(question.data);
        let key = [0; 4];
        self.kernel.0.update(&key, &value, 0).expect("it takes a value");
        assert_eq!(self.kernel.1.test_run(&TestRunAttr::default()).errno, 0);
        self.ours.0.update(0, &key, &value, 0).expect("it takes a value");
        self.ours.1.run(&mut RawContext::default()).unwrap_or_else(|error| panic!("{error}"));
        let theirs = self.kernel.0.lookup(&key).expect("it is there");
        let ours = self.ours.0.lookup_copy(&key, 0).expect("it is there");
        [theirs, ours].map(|value| {
            let answer = i64::from_ne_bytes(*value[16..].first_chunk().expect("it is long enough"));
            let text = &value[TEXT..TEXT + self.text_len];
            let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
            (answer, text[..end].escape_ascii().to_string().replace("\\n", "\n"))
        })
    }

    fn compare(&mut self, btf: &Btf, question: &Question<'_>, differences: &mut Vec<String>) {
        let [theirs, ours] = self.ask(question);
        if theirs != ours {
            let name = btf.ty(TypeId(question.id)).map_or("", |ty| ty.name());
            let line = theirs.1.lines().zip(ours.1.lines()).find(|(theirs, ours)| theirs != ours);
            differences.push(format!(
                "type {} {name}, flags {}, address {:#x}: kernel {}, mimic {}: {line:?}",
                question.id, question.flags, question.addr, theirs.0, ours.0
            ));
        }
    }
}

fn patterns() -> Vec<Vec<u8>> {
    let mixed = |at: usize| (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31) as u8;
    vec![
        vec![0; DATA_LEN],
        (0..DATA_LEN).map(mixed).collect(),
        (0..DATA_LEN).map(|at| if at % 29 == 0 { mixed(at) } else { 0 }).collect(),
        (0..DATA_LEN).map(|at| b"text\0"[at % 5]).collect(),
    ]
}

/// Types that the kernel can show without coming to harm: not variables and sections.
fn can_ask(btf: &Btf, id: TypeId) -> bool {
    let Some(ty) = btf.ty(id) else { return false };
    let behind = btf.resolve(id).map_or(ty.kind, |behind| behind.kind);
    !matches!(behind, Kind::Var(_) | Kind::Datasec(_) | Kind::Void)
        && btf.size_of(id).is_none_or(|len| len as usize <= DATA_LEN)
}

fn kernel_btf() -> Arc<Btf> {
    let bytes = std::fs::read("/sys/kernel/btf/vmlinux").expect("the kernel has BTF");
    Arc::new(Btf::parse(bytes).expect("it is BTF"))
}

#[test]
fn values_of_the_kernels_types() {
    let Some(_kernel) = Kernel::or_skip() else { return };
    let btf = kernel_btf();
    let mut both = Both::new(&btf, TEXT_LEN);
    let mut differences = Vec::new();
    let patterns = patterns();
    let types = btf.types().map(|ty| ty.id).filter(|id| can_ask(&btf, *id));
    for (at, id) in types.step_by(101).enumerate() {
        for (pattern, data) in patterns.iter().enumerate() {
            let flags = [4, 5, 6, 7, 12, 13, 14, 15][(at + 3 * pattern) % 8];
            both.compare(&btf, &Question { id: id.0, flags, addr: 0, data }, &mut differences);
        }
    }
    let (count, shown) = (differences.len(), &differences[..differences.len().min(20)]);
    assert!(differences.is_empty(), "{count} differences\n{}", shown.join("\n"));
}

#[test]
fn errors_room_and_unreadable_memory() {
    let Some(_kernel) = Kernel::or_skip() else { return };
    let btf = kernel_btf();
    let mut differences = Vec::new();
    let named = |name: &str| btf.named(name).next().map_or(0, |ty| ty.id.0);
    let data = vec![7; DATA_LEN];
    for text_len in [1, 2, 10, 64, TEXT_LEN] {
        let mut both = Both::new(&btf, text_len);
        for id in [0, u32::MAX, btf.type_count(), named("int"), named("list_head"), named("iphdr")] {
            for flags in [4, 5, 16, 1 << 40] {
                both.compare(&btf, &Question { id, flags, addr: 0, data: &data }, &mut differences);
            }
        }
        for addr in [1, 0x1000, 1 << 46, 1 << 60, 0xffff_8000_0000_0000, u64::MAX - 100] {
            let id = named("iphdr");
            both.compare(&btf, &Question { id, flags: 4, addr, data: &data }, &mut differences);
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
