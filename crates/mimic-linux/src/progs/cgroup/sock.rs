//! `SockContext`: a socket that a task of a control group makes, closes, or has just bound. The program's context is the socket itself,
//! `struct bpf_sock`.

use super::layout::SOCK_CREATE;
use super::{CgroupContext, SocketOf, after, layout_of};
use crate::Linux;
use crate::world::Socket;
use mimic_abi::Size;
use mimic_vm::memory::Layout;
use mimic_vm::{Context, ContextError, Region, Setup};
use std::sync::Arc;

/// What cgroup/sock_create, sock_release, post_bind4 and post_bind6 programs get.
#[derive(Clone, Debug, Default)]
pub struct SockContext {
    /// The socket; after a run with what the program changed of it (device, mark, priority). If its cookie is a socket's of the world, it is
    /// that one.
    pub sock: Socket,
    /// What the system call returns: 0, or a negative errno.
    pub retval: i32,
    socket: SocketOf,
    region: Option<Arc<Region>>,
}

impl SockContext {
    /// This socket is made, closed or bound.
    pub fn new(sock: Socket) -> SockContext {
        SockContext { sock, ..SockContext::default() }
    }
}

impl CgroupContext for SockContext {
    fn retval(&self) -> i32 {
        self.retval
    }

    fn set_retval(&mut self, retval: i32) {
        self.retval = retval;
    }
}

impl Context for SockContext {
    fn enter(&mut self, setup: &mut Setup<'_>) -> Result<[u64; 5], ContextError> {
        let layout = layout_of(setup, SOCK_CREATE);
        let region = setup.region("context", layout.size, Layout::Fields(layout))?;
        self.socket.enter(setup, &region, &mut self.sock);
        let base = region.base();
        self.region = Some(region);
        Ok([base, 0, 0, 0, 0])
    }

    fn leave(&mut self, setup: &mut Setup<'_>, r0: Option<u64>) {
        if let (Some(region), Some(linux)) = (&self.region, setup.emulator::<Linux>()) {
            // What programs write of a socket is the socket's at once in the kernel; helpers that these programs may call do not ask for it.
            linux.change_socket(self.sock.cookie, |sock| {
                sock.bound_dev_if = region.load(0, Size::W) as u32;
                sock.mark = region.load(16, Size::W) as u32;
                sock.priority = region.load(20, Size::W) as u32;
            });
        }
        self.socket.leave(setup, &mut self.sock);
        self.retval = after(self.retval, r0, |r0| r0 != 0);
    }
}
