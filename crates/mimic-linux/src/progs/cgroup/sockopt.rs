//! `SockoptContext`: a getsockopt(2) or setsockopt(2) of a control group's task, `struct bpf_sockopt`.
//! Documentation/bpf/prog_cgroup_sockopt.rst.

use super::layout::SETSOCKOPT;
use super::{CgroupContext, SocketOf, after, layout_of, sock_region};
use crate::world::Socket;
use mimic_abi::{Errno, Size};
use mimic_vm::memory::{Access, Layout};
use mimic_vm::{Context, ContextError, Region, Setup};
use std::sync::Arc;

/// What cgroup/getsockopt and cgroup/setsockopt programs get. Which of the two it is the program's attach type says.
#[derive(Clone, Debug, Default)]
pub struct SockoptContext {
    /// The socket. If its cookie is a socket's of the world, it is that one.
    pub sock: Socket,
    /// `SOL_*`; programs of setsockopt may change it.
    pub level: i32,
    /// The option; programs of setsockopt may change it.
    pub optname: i32,
    /// What `optval` points at, up to `optval_end`: at most a page.
    pub optval: Vec<u8>,
    /// The value's length. What programs make of it: see [`SockoptContext::set_end`] and [`SockoptContext::get_end`].
    pub optlen: i32,
    /// What the system call returns: 0, or a negative errno; of getsockopt at first what the kernel answered.
    pub retval: i32,
    /// The length that the kernel (get) or the user (set) gave.
    given_len: i32,
    socket: SocketOf,
    region: Option<Arc<Region>>,
}

/// What a setsockopt(2) goes on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetsockoptEnd {
    /// The kernel sets this option.
    Kernel {
        /// `SOL_*`.
        level: i32,
        /// The option.
        optname: i32,
        /// The value; none for the user's own, as it was given.
        optval: Option<Vec<u8>>,
    },
    /// The programs have done it (`optlen` is -1): 0 for the user.
    Done,
}

impl SockoptContext {
    /// The most of a value that programs see, in bytes: a page.
    pub const OPTVAL_MAX: usize = 4096;
    /// What programs see of shorter values of setsockopt at least: room for a longer one.
    const OPTVAL_MIN: usize = 16;

    /// A task sets an option.
    pub fn set(sock: Socket, level: i32, optname: i32, optval: &[u8]) -> SockoptContext {
        let mut window = optval.to_vec();
        window.resize(window.len().clamp(SockoptContext::OPTVAL_MIN, SockoptContext::OPTVAL_MAX), 0);
        SockoptContext::new(sock, level, optname, window, optval.len())
    }

    /// A task asks for an option, of which the kernel answered this.
    pub fn get(sock: Socket, level: i32, optname: i32, optval: &[u8]) -> SockoptContext {
        let mut window = optval.to_vec();
        window.truncate(SockoptContext::OPTVAL_MAX);
        SockoptContext::new(sock, level, optname, window, optval.len())
    }

    /// A task asks with a buffer of this length for an option, which the kernel does not have.
    pub fn get_failed(sock: Socket, level: i32, optname: i32, len: usize, errno: Errno) -> SockoptContext {
        let window = vec![0; len.min(SockoptContext::OPTVAL_MAX)];
        let context = SockoptContext::new(sock, level, optname, window, len);
        SockoptContext { retval: -errno.0, ..context }
    }

    fn new(sock: Socket, level: i32, optname: i32, optval: Vec<u8>, len: usize) -> SockoptContext {
        let optlen = i32::try_from(len).unwrap_or(i32::MAX);
        SockoptContext {
            sock,
            level,
            optname,
            optval,
            optlen,
            given_len: optlen,
            ..SockoptContext::default()
        }
    }

    /// What a setsockopt(2) goes on with after the programs; the error is what the user gets.
    pub fn set_end(&self) -> Result<SetsockoptEnd, Errno> {
        if self.retval != 0 {
            return Err(Errno(self.retval.wrapping_neg()));
        }
        let user = |optval| SetsockoptEnd::Kernel { level: self.level, optname: self.optname, optval };
        match self.optlen {
            -1 => Ok(SetsockoptEnd::Done),
            0 => Ok(user(None)),
            len => match self.window(len) {
                Some(bytes) => Ok(user(Some(bytes.to_vec()))),
                // The program did not know what to make of a value that it saw a page of.
                None if len > 0 && self.is_cut() => Ok(user(None)),
                None => Err(Errno::EFAULT),
            },
        }
    }

    /// What the user of getsockopt(2) gets after the programs: the value; none if it stays as the kernel left it.
    pub fn get_end(&self) -> Result<Option<Vec<u8>>, Errno> {
        if self.retval < 0 {
            return Err(Errno(self.retval.wrapping_neg()));
        }
        match self.optlen {
            0 => Ok(None),
            len => match self.window(len) {
                Some(bytes) => Ok(Some(bytes.to_vec())),
                None if len > 0 && self.is_cut() => Ok(None),
                None => Err(Errno::EFAULT),
            },
        }
    }

    /// The first bytes of the value, if there are so many.
    fn window(&self, len: i32) -> Option<&[u8]> {
        self.optval.get(..usize::try_from(len).ok()?)
    }

    fn is_cut(&self) -> bool {
        self.given_len > SockoptContext::OPTVAL_MAX as i32
    }

    fn fill(&self, region: &Region) {
        let words = [(24, self.level), (28, self.optname), (32, self.optlen), (36, self.retval)];
        for (off, word) in words {
            region.store(off, Size::W, word as u32 as u64);
        }
    }
}

impl CgroupContext for SockoptContext {
    /// While a program runs, `bpf_sockopt::retval` is the same number.
    fn retval(&self) -> i32 {
        self.region.as_ref().map_or(self.retval, |region| region.load(36, Size::W) as i32)
    }

    fn set_retval(&mut self, retval: i32) {
        match &self.region {
            Some(region) => region.store(36, Size::W, retval as u32 as u64),
            None => self.retval = retval,
        }
    }
}

impl Context for SockoptContext {
    fn enter(&mut self, setup: &mut Setup<'_>) -> Result<[u64; 5], ContextError> {
        if self.optval.len() > SockoptContext::OPTVAL_MAX {
            let why = format!(
                "programs see at most {} bytes of a value, not {}",
                SockoptContext::OPTVAL_MAX,
                self.optval.len()
            );
            return Err(ContextError::Errno(Errno::E2BIG, why));
        }
        let layout = layout_of(setup, SETSOCKOPT);
        let sock = sock_region(setup)?;
        let len = self.optval.len() as u32;
        let optval =
            setup.region("optval", SockoptContext::OPTVAL_MAX as u32, Layout::Bytes(Access::ReadWrite))?;
        let region = setup.region("context", layout.size, Layout::Fields(layout))?;
        self.socket.enter(setup, &sock, &mut self.sock);
        optval.set_bounds(0, len);
        optval.write(0, &self.optval);
        self.fill(&region);
        let end = optval.base() + u64::from(len);
        for (off, addr) in [(0, sock.base()), (8, optval.base()), (16, end)] {
            region.store(off, Size::Dw, addr);
        }
        let base = region.base();
        self.region = Some(region);
        Ok([base, 0, 0, 0, 0])
    }

    fn leave(&mut self, setup: &mut Setup<'_>, r0: Option<u64>) {
        if let Some(region) = self.region.take() {
            self.level = region.load(24, Size::W) as i32;
            self.optname = region.load(28, Size::W) as i32;
            self.optlen = region.load(32, Size::W) as i32;
            self.retval = region.load(36, Size::W) as i32;
        }
        if let Some(optval) = setup.existing("optval") {
            optval.read(0, &mut self.optval);
        }
        self.socket.leave(setup, &mut self.sock);
        self.retval = after(self.retval, r0, |r0| r0 != 0);
    }
}
