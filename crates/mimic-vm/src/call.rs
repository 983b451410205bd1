//! `Call`: what a helper sees of the process that calls it, and how it answers.

use crate::context::Context;
use crate::fault::FaultKind;
use crate::map::{Map, MapRef, MapTable};
use crate::memory::{AccessError, Region, View};
use crate::process::State;
use crate::program::{FuncRef, LoadedProgram};
use crate::vm::Vm;
use core::any::Any;
use mimic_abi::{Errno, HelperSpec, Size};
use std::sync::Arc;

/// r0, or something else than a plain return.
pub type HelperResult = Result<u64, Trap>;

/// What a helper can do instead of returning a number.
// The tag is as wide as results are read in: processors wait for a narrow store that is read with what is next to it.
#[repr(u64)]
pub enum Trap {
    /// Answer with an error: r0 is the negated number. `?` turns an [`Errno`] into this.
    Errno(Errno),
    /// Stop the process.
    Fault(Box<FaultKind>),
    /// Call a function of the program; made by [`Call::call_back`].
    Callback(Box<CallbackRequest>),
    /// Replace the running program; it gets the current r1 and the current frame.
    TailCall(Arc<LoadedProgram>),
    /// Leave all frames of the program (`bpf_throw`), with this cookie.
    Throw(u64),
    /// Leave the program, now, with this r0, as a legacy packet load beyond the packet does.
    ExitProgram(u64),
}

const _: () = assert!(size_of::<HelperResult>() == 16, "a tag and a word");

impl From<Errno> for Trap {
    fn from(errno: Errno) -> Trap {
        Trap::Errno(errno)
    }
}

impl From<FaultKind> for Trap {
    fn from(kind: FaultKind) -> Trap {
        Trap::Fault(Box::new(kind))
    }
}

/// A function of the program, to be called by the VM on a helper's behalf, and who is told when it returns.
pub struct CallbackRequest {
    pub(crate) func: FuncRef,
    pub(crate) args: [u64; 5],
    pub(crate) then: Box<dyn Callback>,
}

/// What happens when a function that a helper called returns. Iterations use no host stack: the answer may ask for another call.
pub trait Callback: Send {
    /// `r0` is what the function returned.
    fn returned(&mut self, call: &mut Call<'_>, r0: u64) -> Result<Next, Trap>;
}

impl<F: FnMut(&mut Call<'_>, u64) -> Result<Next, Trap> + Send> Callback for F {
    fn returned(&mut self, call: &mut Call<'_>, r0: u64) -> Result<Next, Trap> {
        self(call, r0)
    }
}

/// After a function that a helper called has returned.
pub enum Next {
    /// Call the same function again with these arguments.
    Again([u64; 5]),
    /// The helper returns this.
    Return(u64),
}

/// A helper's view of its caller.
///
/// Memory accesses are checked as the program's own are; a bad one stops the process with a fault that names the helper, as the
/// kernel's verifier would have refused the program. Arguments arrive as plain registers.
pub struct Call<'a> {
    pub(crate) vm: &'a Arc<Vm>,
    pub(crate) state: &'a mut State,
    pub(crate) context: &'a mut dyn Context,
    pub(crate) maps: &'a MapTable,
    pub(crate) name: &'a Arc<str>,
    pub(crate) spec: Option<&'a HelperSpec>,
}

impl<'a> Call<'a> {
    /// The VM.
    #[inline]
    pub fn vm(&self) -> &'a Arc<Vm> {
        self.vm
    }

    /// The emulator, if it is an `E`.
    #[inline]
    pub fn emulator<E: 'static>(&self) -> Option<&'a E> {
        (&**self.vm.emulator() as &dyn Any).downcast_ref()
    }

    /// The row of the helper that is called; none for legacy packet loads.
    #[inline]
    pub fn spec(&self) -> Option<&'a HelperSpec> {
        self.spec
    }

    /// The helper's name as programs know it.
    #[inline]
    pub fn name(&self) -> &Arc<str> {
        self.name
    }

    /// The virtual CPU that the process runs on.
    #[inline]
    pub fn cpu(&self) -> u32 {
        self.state.cpu
    }

    /// The program that is running.
    pub fn program(&self) -> &Arc<LoadedProgram> {
        &self.state.program
    }

    /// Tail calls that this run has made.
    pub fn tail_calls(&self) -> u32 {
        self.state.tail_calls
    }

    /// The slot of the call instruction.
    pub fn pc(&self) -> u32 {
        self.state.slot()
    }

    /// A register as it was before the call.
    pub fn reg(&self, index: usize) -> u64 {
        self.state.regs[index & 15]
    }

    /// Values that an emulator keeps for the length of one run, by type; made with `Default` when first asked for.
    pub fn run_state<T: Any + Send + Default>(&mut self) -> &mut T {
        self.state.run_state()
    }

    /// The same, if it was asked for in this run.
    #[inline]
    pub fn run_state_if<T: Any + Send>(&mut self) -> Option<&mut T> {
        self.state.run_state_if()
    }

    /// The run's context, if it is a `C`.
    pub fn context<C: Context>(&mut self) -> Option<&mut C> {
        (&mut *self.context as &mut dyn Any).downcast_mut()
    }

    /// The run's context, whatever it is.
    pub fn any_context(&mut self) -> &mut dyn Context {
        self.context
    }

    /// The map at the address `addr` that a `ld_imm64` put in a register.
    #[inline]
    pub fn map(&self, addr: u64) -> Result<&'a Arc<MapRef>, Trap> {
        self.maps.at(addr).ok_or_else(|| self.bad_argument(format!("{addr:#x} is not a map")))
    }

    /// The map at `addr` if it is an `M`.
    #[inline]
    pub fn map_as<M: Map>(&self, addr: u64) -> Result<&'a M, Trap> {
        let map = self.map(addr)?;
        (&*map.map as &dyn Any).downcast_ref().ok_or_else(|| {
            self.bad_argument(format!(
                "map {} is of type {}, which cannot be used here",
                map.spec().name,
                map.spec().map_type
            ))
        })
    }

    /// Guest memory with its checks, without this call's name in errors.
    #[inline]
    pub fn view(&self) -> &View {
        &self.state.view
    }

    /// Reads a number in guest byte order.
    #[inline]
    pub fn load(&self, addr: u64, size: Size) -> Result<u64, Trap> {
        let at = self.reach(addr, size.bytes() as u64, false)?;
        Ok(self.state.view.memory().load_at(at, size))
    }

    /// Writes a number in guest byte order.
    #[inline]
    pub fn store(&self, addr: u64, size: Size, value: u64) -> Result<(), Trap> {
        let at = self.reach(addr, size.bytes() as u64, true)?;
        self.state.view.memory().store_at(at, size, value);
        Ok(())
    }

    /// Replaces the word (4 or 8 bytes, aligned) at `addr` by what `change` makes of it, in one step; answers the old value.
    /// `None` leaves it.
    pub fn atomic_update(
        &self,
        addr: u64,
        size: Size,
        change: impl Fn(u64) -> Option<u64>,
    ) -> Result<u64, Trap> {
        let len = size.bytes() as u64;
        if len < 4 || !addr.is_multiple_of(len) {
            return Err(FaultKind::Misaligned { addr, len: len as u32 }.into());
        }
        let at = self.state.view.check(addr, len, true).map_err(|error| self.access(error))?;
        Ok(self.state.view.memory().atomic_update(at, size, change))
    }

    /// Copies guest bytes out.
    #[inline]
    pub fn read(&self, addr: u64, to: &mut [u8]) -> Result<(), Trap> {
        if !to.is_empty() {
            let at = self.reach(addr, to.len() as u64, false)?;
            self.state.view.memory().copy_out(at, to);
        }
        Ok(())
    }

    /// Copies `N` guest bytes out: for keys and values of common lengths.
    #[inline]
    pub fn read_array<const N: usize>(&self, addr: u64) -> Result<[u8; N], Trap> {
        let at = self.reach(addr, N as u64, false)?;
        Ok(self.state.view.memory().array_at(at))
    }

    /// Copies bytes to guest memory.
    #[inline]
    pub fn write(&self, addr: u64, from: &[u8]) -> Result<(), Trap> {
        if !from.is_empty() {
            let at = self.reach(addr, from.len() as u64, true)?;
            self.state.view.memory().copy_in(at, from);
        }
        Ok(())
    }

    /// Copies guest bytes into a new vector; checked before anything is allocated.
    pub fn read_vec(&self, addr: u64, len: u64) -> Result<Vec<u8>, Trap> {
        self.state.view.read_vec(addr, len).map_err(|error| self.access(error))
    }

    /// Checks that a program could read (or write) all of `len` bytes at `addr`.
    pub fn check(&self, addr: u64, len: u64, write: bool) -> Result<(), Trap> {
        self.state.view.check(addr, len, write).map(|_| ()).map_err(|error| self.access(error))
    }

    /// Memory of the process that lives until the process goes, made when first asked for: room for what a helper passes to
    /// a callback (an index, a key). `name` is what faults show.
    pub fn scratch(&mut self, name: &'static str, len: u32) -> Result<Arc<Region>, Trap> {
        let layout = crate::memory::Layout::Bytes(crate::memory::Access::ReadWrite);
        let region = self.state.scratch.region(name, len, layout);
        let region = region.map_err(|error| Trap::from(FaultKind::Unsupported(error.to_string())))?;
        self.memory_changed();
        Ok(region)
    }

    /// Says that objects were made, moved, shrunk or freed: the process forgets what it knows of bounds.
    pub fn memory_changed(&mut self) {
        self.state.memory_changed();
    }

    /// The function that a callback argument names.
    pub fn func(&self, addr: u64) -> Result<FuncRef, Trap> {
        self.vm
            .func_at(addr, &self.state.program)
            .ok_or_else(|| self.bad_argument(format!("{addr:#x} is not a function")))
    }

    /// Calls `func` of the program with `args`; `then` is told what it returned. Used as `Err(call.call_back(..))`.
    pub fn call_back(&self, func: FuncRef, args: [u64; 5], then: impl Callback + 'static) -> Trap {
        Trap::Callback(Box::new(CallbackRequest { func, args, then: Box::new(then) }))
    }

    /// A fault for an argument that the verifier would not have let through.
    pub fn bad_argument(&self, what: impl Into<String>) -> Trap {
        FaultKind::Argument { helper: self.name.clone(), what: what.into() }.into()
    }

    /// A fault for something that is not there; `what` says what would make it work.
    pub fn unsupported(&self, what: impl AsRef<str>) -> Trap {
        FaultKind::Unsupported(format!("{}: {}", self.name, what.as_ref())).into()
    }

    /// Checks an access of a few bytes, most often to the object of the last one; answers the address as an offset in the cage.
    #[inline]
    fn reach(&self, addr: u64, len: u64, write: bool) -> Result<u32, Trap> {
        let window = self.state.helper_windows.get()[usize::from(write)];
        let seen = if write { window.writes_bytes(addr, len) } else { window.reads_bytes(addr, len) };
        if seen { Ok(addr as u32) } else { self.reach_anew(addr, len, write) }
    }

    #[cold]
    #[inline(never)]
    fn reach_anew(&self, addr: u64, len: u64, write: bool) -> Result<u32, Trap> {
        let at = self.state.view.check(addr, len, write).map_err(|error| self.access(error))?;
        let mut windows = self.state.helper_windows.get();
        windows[usize::from(write)] = self.state.view.window(addr);
        self.state.helper_windows.set(windows);
        self.state.touched.set(true);
        Ok(at)
    }

    fn access(&self, error: AccessError) -> Trap {
        FaultKind::HelperAccess { helper: self.name.clone(), error }.into()
    }
}
