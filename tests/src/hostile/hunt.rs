//! The hunt for a way out: accesses at hostile addresses in every form, and code that nobody verified, for as long as one likes.

use super::code::{self, ACCESSES, LIST_LEN, LOOP_LEN, OFFSETS};
use super::{machine, same_everywhere};
use crate::canary::Canaries;
use crate::random::Rng;
use mimic_abi::{ByteOrder, RawInsn};
use mimic_object::Program;
use mimic_vm::memory::{Access, Layout};
use mimic_vm::{Checks, Engine, Process, RawContext, Vm};
use std::sync::Arc;

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Hunt {
    /// Accesses to memory by machine code, at least.
    pub accesses: u64,
    /// Runs, and how many of them a fault ended.
    pub runs: u64,
    /// See `runs`.
    pub faults: u64,
    /// Programs of random instructions that could be loaded.
    pub programs: u64,
    /// Canaries that were right before or right behind guest memory.
    pub neighbours: u64,
}

/// Runs of each of the programs that access what a list says.
const RUNS: usize = 40;
/// Programs of random instructions between those.
const PROGRAMS: usize = 20;
/// Bytes of another VM's memory, and what is in them.
const OTHER_LEN: u32 = 64 << 10;
const OTHER: u8 = 0x3a;

/// Hunts until there were so many accesses. The error says what was touched, or what differs.
pub fn hunt(accesses: u64, seed: u64, mut progress: impl FnMut(&Hunt)) -> Result<Hunt, String> {
    let mut rng = Rng::new(seed);
    let mut hunt = Hunt::default();
    while hunt.accesses < accesses {
        for checks in [Checks::Cage, Checks::Precise] {
            hunt.with_lists(&mut rng, checks)?;
        }
        hunt.with_any_code(&mut rng)?;
        progress(&hunt);
    }
    Ok(hunt)
}

impl Hunt {
    /// Accesses in a form each, at addresses that only a run knows.
    fn with_lists(&mut self, rng: &mut Rng, checks: Checks) -> Result<(), String> {
        let (vm, canaries) = machine(Engine::Jit, checks);
        // Guest memory of another VM, right behind them as a rule.
        let (other, _others) = machine(Engine::Jit, checks);
        let layout = Layout::Bytes(Access::ReadWrite);
        let other = other.memory().allocate("other", OTHER_LEN, layout).expect("there is memory");
        other.fill(0, OTHER_LEN, OTHER);
        self.neighbours += canaries.neighbours() as u64;
        let host = host_addresses(&canaries, &vm);
        for access in ACCESSES {
            let (off, depth) = (rng.pick(OFFSETS), rng.range(1, 7));
            let program = code::of_list(access, off, depth);
            let mut process = process(&vm, &program);
            let guest = addresses(&mut process);
            for _ in 0..RUNS {
                let list = list(rng, &guest, &host);
                self.faults += u64::from(process.run(&mut RawContext::with_len(list)).is_err());
                self.runs += 1;
                self.accesses += process.insns() / LOOP_LEN * 3;
            }
            canaries.check().map_err(|place| format!("{access}, displacement {off}: {place}"))?;
            if other.to_vec(0, OTHER_LEN).iter().any(|byte| *byte != OTHER) {
                return Err(format!("{access}, displacement {off}: another VM's memory was changed"));
            }
        }
        Ok(())
    }

    fn with_any_code(&mut self, rng: &mut Rng) -> Result<(), String> {
        for _ in 0..PROGRAMS {
            let code = code::any(rng);
            let accesses = same_everywhere(&code)?;
            self.programs += u64::from(accesses > 0);
            self.accesses += accesses;
        }
        Ok(())
    }
}

/// Addresses of the host's that a guest would have to know to do harm: around its memory, and of what is on heap and stack.
fn host_addresses(canaries: &Canaries, vm: &Arc<Vm>) -> [u64; 4] {
    let range = vm.memory().host_range();
    [range.start, range.end, Arc::as_ptr(vm).addr(), (&raw const *canaries).addr()].map(|addr| addr as u64)
}

fn process(vm: &Arc<Vm>, code: &[RawInsn]) -> Process {
    let program = Program::from_code("list", code.to_vec(), ByteOrder::NATIVE);
    let program = vm.add(program, &[]).unwrap_or_else(|error| panic!("{error}"));
    vm.process(&program, 0).expect("there is memory")
}

/// Where a process has its context and its stack.
fn addresses(process: &mut Process) -> [u64; 2] {
    let list = vec![0; 16 * LIST_LEN];
    // The run itself may end in any way; registers are what it began with, but for its own.
    let _ = process.run(&mut RawContext::with_len(list));
    let at = process.at();
    [at.regs[6], at.regs[10]]
}

/// Addresses and values.
fn list(rng: &mut Rng, guest: &[u64; 2], host: &[u64; 4]) -> Vec<u8> {
    let wild = rng.chance(50);
    (0..LIST_LEN)
        .flat_map(|_| {
            [if wild && rng.chance(10) { anywhere(rng, host) } else { near(rng, guest) }, rng.value()]
        })
        .flat_map(u64::to_ne_bytes)
        .collect()
}

/// Near what the guest has, with anything above the low 32 bits.
fn near(rng: &mut Rng, guest: &[u64; 2]) -> u64 {
    let addr = rng.pick(guest).wrapping_add(8 * rng.below(64) as u64) & 0xffff_ffff;
    let above = if rng.chance(50) { 0 } else { rng.bits() << 32 };
    addr | above
}

/// What would be outside, if anything let it through: the ends of guest memory, and places of the host's.
fn anywhere(rng: &mut Rng, host: &[u64; 4]) -> u64 {
    let little = rng.below(1 << 17) as u64;
    match rng.below(8) {
        0 => little,
        1 => little.wrapping_neg(),
        2 => (1 << 32) - 1 - little,
        3 => (1 << 32) + little,
        4 => rng.pick(host).wrapping_add(little),
        // From where guest memory may begin to there.
        5 => rng.pick(host).wrapping_sub(rng.pick(host) & !0xffff_ffff).wrapping_add(little),
        6 => rng.value(),
        _ => rng.bits(),
    }
}
