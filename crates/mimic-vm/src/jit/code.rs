//! `CodeMemory`: pages of machine code: written first, executable then, never both.

use super::{host, signal};
use core::ptr;

/// See the module. The pages go with it.
pub(super) struct CodeMemory {
    start: *mut libc::c_void,
    len: usize,
    range: Option<signal::Range>,
}

// SAFETY: the pages are written before anybody else knows of them, and are read-only then.
unsafe impl Send for CodeMemory {}
// SAFETY: as above.
unsafe impl Sync for CodeMemory {}

impl CodeMemory {
    /// Puts code into pages of its own.
    pub(super) fn new(code: &[u8]) -> Result<CodeMemory, String> {
        let failed = |what: &str| format!("{what} memory for code: {}", std::io::Error::last_os_error());
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                code.len(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(failed("allocating"));
        }
        let memory = CodeMemory { start, len: code.len(), range: None };
        // SAFETY: the mapping was made above, is as long, and nobody else has it.
        unsafe { ptr::copy_nonoverlapping(code.as_ptr(), start.cast(), code.len()) };
        host::publish(start.cast(), code.len());
        // SAFETY: the mapping is ours.
        if unsafe { libc::mprotect(start, code.len(), libc::PROT_READ | libc::PROT_EXEC) } != 0 {
            return Err(failed("protecting"));
        }
        Ok(memory)
    }

    /// Has accesses to guest memory by this code that the host's memory protection stops go on at the offset `faulted`.
    pub(super) fn catch_faults(&mut self, faulted: u32) -> Result<(), String> {
        self.range = Some(signal::Range::add(self.addr(0), self.addr(0) + self.len, self.addr(faulted))?);
        Ok(())
    }

    /// The address of the code at an offset.
    pub(super) fn addr(&self, off: u32) -> usize {
        self.start.addr() + off as usize
    }

    /// The offset of an address in the code.
    pub(super) fn offset_of(&self, addr: usize) -> Option<u32> {
        let off = addr.checked_sub(self.start.addr())?;
        (off < self.len).then_some(off as u32)
    }
}

impl Drop for CodeMemory {
    fn drop(&mut self) {
        self.range = None;
        // SAFETY: the mapping is ours, and whoever runs code holds what it is part of.
        unsafe { libc::munmap(self.start, self.len) };
    }
}
