//! CPU masks that programs own. Documentation/bpf/cpumasks.rst.
//!
//! A `struct bpf_cpumask` lies in guest memory as the kernel's does, a bit for each CPU and then a count that is not used: references are
//! counted by the heap. CPUs beyond those of the VM are not there, whatever a mask says.

use crate::Linux;
use crate::heap::{self, ObjectType};
use mimic_abi::btf::KindCode;
use mimic_abi::{Arg, ArgType, Errno, HelperFlags, HelperSpec, MemAccess, MemLen, RetType, Size, arg};
use mimic_vm::{Call, Helper, HelperFn, HelperResult, Trap};
use std::sync::Arc;

/// Bits of a mask where the kernel's BTF does not tell (`CONFIG_NR_CPUS` of most distributions).
const NR_CPUS: u32 = 8192;
/// The most bits that are believed.
const NR_CPUS_MAX: u32 = 1 << 15;

const OWN: ArgType = ArgType::BtfId("bpf_cpumask");
const ANY: ArgType = ArgType::BtfId("cpumask");
const CPU: Arg = arg("cpu", ArgType::Anything);
const CHANGE: &[Arg] = &[CPU, arg("cpumask", OWN)];
const ONE: &[Arg] = &[arg("cpumask", ANY)];
const TWO: &[Arg] = &[arg("src1", ANY), arg("src2", ANY)];
const INTO: &[Arg] = &[arg("dst", OWN), arg("src1", ANY), arg("src2", ANY)];

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        spec("bpf_cpumask_create", &[])
            .returns(RetType::BtfIdOrNull("bpf_cpumask"))
            .flags(HelperFlags::ACQUIRES),
        create,
    ),
    Helper::new(
        spec("bpf_cpumask_acquire", &[arg("cpumask", OWN)])
            .returns(RetType::BtfId("bpf_cpumask"))
            .flags(HelperFlags::ACQUIRES),
        acquire,
    ),
    Helper::new(
        spec("bpf_cpumask_release", &[arg("cpumask", OWN)])
            .returns(RetType::Void)
            .flags(HelperFlags::RELEASES),
        release,
    ),
    row("bpf_cpumask_first", ONE, |call, mask, _, _, _, _| first(call, |cpu| bit(call, mask, cpu))),
    row("bpf_cpumask_first_zero", ONE, |call, mask, _, _, _, _| {
        first(call, |cpu| bit(call, mask, cpu).map(|set| !set))
    }),
    row("bpf_cpumask_first_and", TWO, |call, a, b, _, _, _| first_and(call, a, b)),
    Helper::new(spec("bpf_cpumask_set_cpu", CHANGE).returns(RetType::Void), |call, cpu, mask, _, _, _| {
        change(call, cpu, mask, true).map(|_| 0)
    }),
    Helper::new(spec("bpf_cpumask_clear_cpu", CHANGE).returns(RetType::Void), |call, cpu, mask, _, _, _| {
        change(call, cpu, mask, false).map(|_| 0)
    }),
    row("bpf_cpumask_test_cpu", &[CPU, arg("cpumask", ANY)], |call, cpu, mask, _, _, _| {
        if cpu as u32 >= cpus(call) { Ok(0) } else { bit(call, mask, cpu as u32).map(u64::from) }
    }),
    row("bpf_cpumask_test_and_set_cpu", CHANGE, |call, cpu, mask, _, _, _| change(call, cpu, mask, true)),
    row("bpf_cpumask_test_and_clear_cpu", CHANGE, |call, cpu, mask, _, _, _| change(call, cpu, mask, false)),
    Helper::new(
        spec("bpf_cpumask_setall", &[arg("cpumask", OWN)]).returns(RetType::Void),
        |call, mask, _, _, _, _| combine(call, mask, [mask; 2], |_, _| u64::MAX).map(|_| 0),
    ),
    Helper::new(
        spec("bpf_cpumask_clear", &[arg("cpumask", OWN)]).returns(RetType::Void),
        |call, mask, _, _, _, _| combine(call, mask, [mask; 2], |_, _| 0).map(|_| 0),
    ),
    row("bpf_cpumask_and", INTO, |call, to, a, b, _, _| combine(call, to, [a, b], |a, b| a & b)),
    Helper::new(spec("bpf_cpumask_or", INTO).returns(RetType::Void), |call, to, a, b, _, _| {
        combine(call, to, [a, b], |a, b| a | b).map(|_| 0)
    }),
    Helper::new(spec("bpf_cpumask_xor", INTO).returns(RetType::Void), |call, to, a, b, _, _| {
        combine(call, to, [a, b], |a, b| a ^ b).map(|_| 0)
    }),
    Helper::new(
        spec("bpf_cpumask_copy", &[arg("dst", OWN), arg("src", ANY)]).returns(RetType::Void),
        |call, to, from, _, _, _| combine(call, to, [from; 2], |a, _| a).map(|_| 0),
    ),
    row("bpf_cpumask_equal", TWO, |call, a, b, _, _, _| every(call, a, b, |a, b| a == b)),
    row("bpf_cpumask_intersects", TWO, |call, a, b, _, _, _| {
        Ok(u64::from(every(call, a, b, |a, b| a & b == 0)? == 0))
    }),
    row("bpf_cpumask_subset", TWO, |call, a, b, _, _, _| every(call, a, b, |a, b| a & !b == 0)),
    row("bpf_cpumask_empty", ONE, |call, mask, _, _, _, _| every(call, mask, mask, |word, _| word == 0)),
    row("bpf_cpumask_full", ONE, |call, mask, _, _, _, _| {
        let (words, mut full) = (words(call), true);
        for index in 0..words {
            full &= load(call, mask, index)? == valid(call, index);
        }
        Ok(u64::from(full))
    }),
    row("bpf_cpumask_weight", ONE, |call, mask, _, _, _, _| {
        let mut weight = 0;
        for index in 0..words(call) {
            weight += u64::from(load(call, mask, index)?.count_ones());
        }
        Ok(weight)
    }),
    row("bpf_cpumask_any_distribute", ONE, |call, mask, _, _, _, _| distribute(call, mask, mask)),
    row("bpf_cpumask_any_and_distribute", TWO, |call, a, b, _, _, _| distribute(call, a, b)),
    Helper::new(
        HelperSpec::new(0, "bpf_cpumask_populate")
            .args(&[
                arg("cpumask", OWN),
                arg("src", ArgType::Mem(MemAccess::Read, MemLen::NextArg)),
                arg("src__sz", ArgType::Size),
            ])
            .since(6, 15),
        populate,
    ),
];

const fn spec(name: &'static str, args: &'static [Arg]) -> HelperSpec {
    HelperSpec::new(0, name).args(args).since(6, 3)
}

const fn row(name: &'static str, args: &'static [Arg], run: HelperFn) -> Helper {
    Helper::new(spec(name, args), run)
}

/// CPUs that there are (`nr_cpu_ids`).
fn cpus(call: &Call<'_>) -> u32 {
    call.vm().cpus()
}

/// Words of a mask that hold CPUs that there are.
fn words(call: &Call<'_>) -> u32 {
    cpus(call).div_ceil(64)
}

/// The bits of a word that stand for CPUs that there are.
fn valid(call: &Call<'_>, index: u32) -> u64 {
    match cpus(call) - index * 64 {
        64.. => u64::MAX,
        bits => (1 << bits) - 1,
    }
}

/// A word of a mask, without CPUs that there are not.
fn load(call: &Call<'_>, mask: u64, index: u32) -> HelperResult {
    let word = call.load(mask.wrapping_add(u64::from(index) * 8), Size::Dw)?;
    Ok(word & valid(call, index))
}

fn bit(call: &Call<'_>, mask: u64, cpu: u32) -> Result<bool, Trap> {
    Ok(load(call, mask, cpu / 64)? >> (cpu % 64) & 1 != 0)
}

/// The first CPU for which it holds, or the number of CPUs.
fn first(call: &Call<'_>, holds: impl Fn(u32) -> Result<bool, Trap>) -> HelperResult {
    for cpu in 0..cpus(call) {
        if holds(cpu)? {
            return Ok(u64::from(cpu));
        }
    }
    Ok(u64::from(cpus(call)))
}

fn first_and(call: &Call<'_>, a: u64, b: u64) -> HelperResult {
    first(call, |cpu| Ok(bit(call, a, cpu)? && bit(call, b, cpu)?))
}

/// Sets or clears a CPU's bit; answers what it was. CPUs that there are not are passed over.
fn change(call: &Call<'_>, cpu: u64, mask: u64, set: bool) -> HelperResult {
    let cpu = cpu as u32;
    if cpu >= cpus(call) {
        return Ok(0);
    }
    let (addr, bit) = (mask.wrapping_add(u64::from(cpu / 64) * 8), 1 << (cpu % 64));
    let old = call.atomic_update(addr, Size::Dw, |word| Some(if set { word | bit } else { word & !bit }))?;
    Ok(u64::from(old & bit != 0))
}

/// Makes each word of `to` of those of two masks; answers whether any CPU is in it.
fn combine(call: &Call<'_>, to: u64, from: [u64; 2], of: fn(u64, u64) -> u64) -> HelperResult {
    let mut any = false;
    for index in 0..words(call) {
        let word = of(load(call, from[0], index)?, load(call, from[1], index)?) & valid(call, index);
        call.store(to.wrapping_add(u64::from(index) * 8), Size::Dw, word)?;
        any |= word != 0;
    }
    Ok(u64::from(any))
}

/// Whether it holds for all words of two masks.
fn every(call: &Call<'_>, a: u64, b: u64, holds: fn(u64, u64) -> bool) -> HelperResult {
    for index in 0..words(call) {
        if !holds(load(call, a, index)?, load(call, b, index)?) {
            return Ok(0);
        }
    }
    Ok(1)
}

/// A CPU of both masks: the next after the one that was answered last on this CPU, around the corner.
fn distribute(call: &mut Call<'_>, a: u64, b: u64) -> HelperResult {
    let linux = Linux::of(call);
    let last = linux.lock_distributed().get(&call.cpu()).copied().unwrap_or(0);
    let count = cpus(call);
    for step in 1..=count {
        let cpu = (last + step) % count;
        if bit(call, a, cpu)? && bit(call, b, cpu)? {
            linux.lock_distributed().insert(call.cpu(), cpu);
            return Ok(u64::from(cpu));
        }
    }
    Ok(u64::from(count))
}

/// The type of masks, of the target kernel if its types are known.
fn mask_type(call: &Call<'_>) -> Arc<ObjectType> {
    let bytes = || {
        let btf = Linux::of(call).btf()?;
        btf.size_of(btf.find("cpumask", KindCode::Struct)?.id)
    };
    let bytes = bytes().filter(|bytes| (8..=NR_CPUS_MAX / 8).contains(bytes) && bytes.is_multiple_of(8));
    // Room for the VM's CPUs, in any case; then the count of references.
    let mask = bytes.unwrap_or(NR_CPUS / 8).max(words(call) * 8);
    Arc::new(ObjectType {
        name: "bpf_cpumask".into(),
        len: mask + 8,
        fields: [].into(),
        refcounted: true,
        zeroed: true,
    })
}

fn create(call: &mut Call<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    let ty = mask_type(call);
    Ok(super::object::allocate(call, &ty, None))
}

fn acquire(call: &mut Call<'_>, mask: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    if !Linux::of(call).heap().get(mask) {
        return Err(call.bad_argument(format!("{mask:#x} is no CPU mask of a program's")));
    }
    heap::acquire(call, mask);
    Ok(mask)
}

fn release(call: &mut Call<'_>, mask: u64, _: u64, _: u64, _: u64, _: u64) -> HelperResult {
    heap::release(call, mask)?;
    Linux::of(call).heap().put(mask);
    Ok(0)
}

/// Sets a mask from memory, which is as long as masks of this many CPUs are at least.
fn populate(call: &mut Call<'_>, mask: u64, from: u64, len: u64, _: u64, _: u64) -> HelperResult {
    if (len as u32) < words(call) * 8 {
        return Ok(u64::from(-Errno::EACCES.0 as u32));
    }
    combine(call, mask, [from; 2], |word, _| word).map(|_| 0)
}
