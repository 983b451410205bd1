//! `TraceBuffer`: what programs print, in a trace buffer of our own. See Documentation/trace/ftrace.rst, "Instances".

use super::{Kernel, sys};
use std::fs;
use std::io;
use std::path::PathBuf;

/// A trace buffer that takes what programs print, beside the machine's own. It goes with the value.
pub struct TraceBuffer {
    folder: PathBuf,
}

impl Kernel {
    /// Calls `f` with a trace buffer, on a thread that alone sees it. `None` where there is no tracefs to be had.
    ///
    /// # Panics
    /// As `f` does.
    pub fn with_trace<T: Send>(&self, f: impl FnOnce(&TraceBuffer) -> T + Send) -> Option<T> {
        let place = std::env::temp_dir().join(format!("mimic-tracefs-{}", std::process::id()));
        fs::create_dir_all(&place).ok()?;
        let work = || {
            sys::mount_own_tracefs(&place).ok()?;
            let folder = place.join(format!("instances/mimic-{}", std::process::id()));
            let buffer = TraceBuffer::new(folder).ok()?;
            Some(f(&buffer))
        };
        let result = std::thread::scope(|scope| scope.spawn(work).join());
        // The mount is gone with its thread.
        let _ = fs::remove_dir(&place);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl TraceBuffer {
    fn new(folder: PathBuf) -> io::Result<TraceBuffer> {
        fs::create_dir(&folder)?;
        let buffer = TraceBuffer { folder };
        fs::write(buffer.folder.join("events/bpf_trace/bpf_trace_printk/enable"), "1")?;
        Ok(buffer)
    }

    /// Takes what was printed since it was last taken: bytes of each line, without what stands before it. Of several lines each but the
    /// last ends before the next one's head.
    pub fn take(&self) -> io::Result<Vec<Vec<u8>>> {
        const MARK: &[u8] = b"bpf_trace_printk: ";
        let path = self.folder.join("trace");
        let text = fs::read(&path)?;
        // Opening it to be written from its start clears it.
        fs::File::create(&path)?;
        let mut lines: Vec<Vec<u8>> = Vec::new();
        for line in text.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"#")) {
            match (line.windows(MARK.len()).position(|at| at == MARK), lines.last_mut()) {
                (Some(at), _) => lines.push(line[at + MARK.len()..].to_vec()),
                (None, Some(last)) => last.extend_from_slice(line),
                (None, None) => {}
            }
        }
        for line in &mut lines {
            line.pop_if(|byte| *byte == b'\n');
        }
        Ok(lines)
    }
}

impl Drop for TraceBuffer {
    fn drop(&mut self) {
        // Removing the folder removes the buffer; nothing can be done where that fails.
        let _ = fs::write(self.folder.join("events/bpf_trace/bpf_trace_printk/enable"), "0");
        let _ = fs::remove_dir(&self.folder);
    }
}
