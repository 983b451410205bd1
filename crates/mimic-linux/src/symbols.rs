//! The kernel's symbols, by name and by address: kallsyms; and its per-CPU variables in guest memory.

use crate::Linux;
use crate::world::Ksym;
use mimic_vm::Vm;
use mimic_vm::memory::{Access, Layout};
use std::collections::HashMap;
use std::sync::PoisonError;

/// An index of the world's symbols.
#[derive(Debug)]
pub(crate) struct Symbols {
    /// By rising address, then as the world has them.
    by_addr: Vec<Ksym>,
    by_name: HashMap<String, u64>,
}

/// Where an address lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Symbol<'a> {
    pub(crate) name: &'a str,
    /// From the symbol's address.
    pub(crate) off: u64,
    /// To the next symbol's.
    pub(crate) len: u64,
}

/// What the last symbol extends to, in bytes: a page, where the kernel has the end of its text.
const LAST_LEN: u64 = 4096;

impl Symbols {
    pub(crate) fn new(ksyms: &[Ksym]) -> Symbols {
        let mut by_addr = ksyms.to_vec();
        by_addr.sort_by_key(|symbol| symbol.addr);
        let mut by_name = HashMap::new();
        for symbol in ksyms {
            by_name.entry(symbol.name.clone()).or_insert(symbol.addr);
        }
        Symbols { by_addr, by_name }
    }

    pub(crate) fn addr(&self, name: &str) -> Option<u64> {
        self.by_name.get(name).copied()
    }

    /// The symbol that an address lies in: of several at the same place the first.
    pub(crate) fn at(&self, addr: u64) -> Option<Symbol<'_>> {
        let end = self.by_addr.partition_point(|symbol| symbol.addr <= addr);
        let start = self.by_addr.get(end.checked_sub(1)?)?.addr;
        let first = self.by_addr.partition_point(|symbol| symbol.addr < start);
        let symbol = self.by_addr.get(first)?;
        let next = self.by_addr.get(end).map_or(start.saturating_add(LAST_LEN), |next| next.addr);
        (addr < next).then(|| Symbol { name: &symbol.name, off: addr - start, len: next - start })
    }
}

impl Linux {
    /// The kernel's symbols.
    pub(crate) fn symbols(&self) -> &Symbols {
        self.symbols.get_or_init(|| Symbols::new(&self.world().ksyms))
    }
}

/// The longest per-CPU variable, in bytes.
const PERCPU_LEN_MAX: usize = 1 << 16;

impl Linux {
    /// The address of a per-CPU variable of the world, made in guest memory when first asked for: that of CPU 0's part. None if the
    /// world has no such variable, or there is no memory for it.
    pub(crate) fn percpu_variable(&self, vm: &Vm, name: &str) -> Option<u64> {
        let parts = self.world().percpu.get(name)?;
        let mut made = self.percpu.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((region, _)) = made.get(name) {
            return Some(region.base());
        }
        let len = parts.iter().map(Vec::len).max().unwrap_or(0).clamp(8, PERCPU_LEN_MAX);
        let stride = len.next_multiple_of(8) as u32;
        let region = vm.memory().allocate(name, stride.checked_mul(vm.cpus())?, Layout::Bytes(Access::Read));
        let region = region.ok()?;
        for (cpu, bytes) in parts.iter().enumerate().take(vm.cpus() as usize) {
            region.write(cpu as u32 * stride, &bytes[..bytes.len().min(stride as usize)]);
        }
        let base = region.base();
        made.insert(name.into(), (region, stride));
        Some(base)
    }

    /// The part of a per-CPU variable that a CPU has; none if the address is not a variable's.
    pub(crate) fn percpu_part(&self, addr: u64, cpu: u32) -> Option<u64> {
        let made = self.percpu.lock().unwrap_or_else(PoisonError::into_inner);
        let (region, stride) = made.values().find(|(region, _)| region.base() == addr)?;
        Some(region.base() + u64::from(cpu) * u64::from(*stride))
    }
}
