//! Contexts of the programs that control groups run on what their tasks do: sockets, addresses, socket options, sysctls, devices.
//!
//! **A context carries on**: what a program left in it is what the next one begins with, its return value included. So running the programs
//! of a control group on one event is running them one after the other on one context, in [`CgroupPrograms`]' order; all of them run, and
//! what the system call returns is what they left: [`CgroupContext::retval`]. A context that is to be used for another event is a copy of
//! what it was.
//!
//! The system call itself is not done: a context says what it would go on with. Mirrors `kernel/bpf/cgroup.c`'s
//! behaviour and Documentation/bpf/prog_cgroup_sockopt.rst, prog_cgroup_sysctl.rst.

mod attach;
mod device;
pub(crate) mod layout;
mod sock;
mod sock_addr;
mod sockopt;
mod sysctl;

pub use attach::{
    BPF_F_ALLOW_MULTI, BPF_F_ALLOW_OVERRIDE, BPF_F_PREORDER, BPF_F_REPLACE, CGROUP_PROGS_MAX, CgroupPrograms,
};
pub use device::{DeviceContext, DeviceKind};
pub use sock::SockContext;
pub use sock_addr::{SockAddr, SockAddrContext};
pub use sockopt::{SetsockoptEnd, SockoptContext};
pub use sysctl::SysctlContext;

use super::TracingContext;
use crate::Linux;
use crate::world::Socket;
use mimic_abi::Errno;
use mimic_vm::memory::Layout;
use mimic_vm::{Context, ContextError, Outcome, Process, Region, RunError, Setup};
use std::any::Any;
use std::sync::Arc;

/// A context of a control group's program.
pub trait CgroupContext: Context {
    /// What the system call returns, as of now: 0, or a negative errno. Programs see it as `bpf_get_retval`'s answer.
    fn retval(&self) -> i32;

    /// Changes it.
    fn set_retval(&mut self, retval: i32);

    /// Whether the system call goes on.
    fn allowed(&self) -> bool {
        self.retval() >= 0
    }
}

/// Runs programs on one event, in this order, as a control group does.
///
/// All run, whatever they return: one that says no makes it `EPERM`, unless an error stands already.
pub fn run_cgroup<C: CgroupContext>(
    processes: &mut [Process],
    context: &mut C,
) -> Result<Vec<Outcome>, RunError> {
    processes.iter_mut().map(|process| process.run(context)).collect()
}

/// The run's context as one of a control group's program.
pub(crate) fn of_context(context: &mut dyn Context) -> Option<&mut dyn CgroupContext> {
    let any: &mut dyn Any = context;
    if any.is::<SockAddrContext>() {
        cast::<SockAddrContext>(any)
    } else if any.is::<SockContext>() {
        cast::<SockContext>(any)
    } else if any.is::<SockoptContext>() {
        cast::<SockoptContext>(any)
    } else if any.is::<SysctlContext>() {
        cast::<SysctlContext>(any)
    } else if any.downcast_ref::<TracingContext>().is_some_and(|context| context.cgroup_retval.is_some()) {
        cast::<TracingContext>(any)
    } else {
        cast::<DeviceContext>(any)
    }
}

fn cast<C: CgroupContext>(any: &mut dyn Any) -> Option<&mut dyn CgroupContext> {
    any.downcast_mut::<C>().map(|context| context as _)
}

/// What `retval` is after a program that returned `r0`; a program that was stopped has said nothing.
pub(super) fn after(retval: i32, r0: Option<u64>, yes: impl Fn(u32) -> bool) -> i32 {
    let denied = r0.is_some_and(|r0| !yes(r0 as u32));
    if denied && !is_error(retval) { -Errno::EPERM.0 } else { retval }
}

/// Whether a return value is a negative errno (`IS_ERR_VALUE`).
fn is_error(retval: i32) -> bool {
    const ERRNO_MAX: i32 = 4095;
    (-ERRNO_MAX..0).contains(&retval)
}

/// The socket that a context is about.
#[derive(Clone, Debug, Default)]
pub(in crate::progs) struct SocketOf {
    cookie: Option<u64>,
}

impl SocketOf {
    /// Shows the socket at a region. One whose cookie is a socket's of the world is that one, whatever else is said of it.
    pub(in crate::progs) fn enter(&mut self, setup: &Setup<'_>, region: &Arc<Region>, sock: &mut Socket) {
        let Some(linux) = setup.emulator::<Linux>() else { return };
        sock.cookie = linux.bring_socket(region, sock);
        self.cookie = Some(sock.cookie);
        if let Some(known) = linux.sockets().get(sock.cookie) {
            *sock = (*known).clone();
        }
    }

    /// Reads what became of the socket.
    pub(in crate::progs) fn leave(&self, setup: &Setup<'_>, sock: &mut Socket) {
        let linux = setup.emulator::<Linux>();
        let known = linux.and_then(|linux| linux.sockets().get(self.cookie?));
        if let Some(known) = known {
            *sock = (*known).clone();
        }
    }
}

/// The region that shows a context's socket as `struct bpf_sock`.
fn sock_region(setup: &mut Setup<'_>) -> Result<Arc<Region>, ContextError> {
    use super::layout::{SOCK, SOCK_LEN};
    Ok(setup.region("socket", SOCK_LEN, Layout::Fields(SOCK))?)
}

/// The layout that the program's type has for its attach type.
fn layout_of(setup: &Setup<'_>, default: mimic_abi::CtxLayout) -> mimic_abi::CtxLayout {
    let linked = setup.program().linked();
    let spec = linked.prog_type.and_then(super::spec);
    let layout = spec.and_then(|spec| spec.layout(linked.attach_type));
    layout.filter(|layout| layout.name == default.name).unwrap_or(default)
}
