//! `Trace`: what programs print with `bpf_trace_printk`, as the kernel's tracefs `trace` file has it.

use super::Task;
use core::fmt;

/// How much trace output is kept. What comes after is counted, not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceLimits {
    /// The most lines.
    pub lines_max: u32,
    /// The most bytes of text in all lines together.
    pub bytes_max: u32,
}

impl Default for TraceLimits {
    fn default() -> TraceLimits {
        TraceLimits { lines_max: 1 << 16, bytes_max: 16 << 20 }
    }
}

/// A line of trace output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceLine {
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    pub time_ns: u64,
    /// The CPU.
    pub cpu: u32,
    /// The current task's thread id.
    pub pid: u32,
    /// The current task's name.
    pub comm: String,
    /// The text, without the newline that the kernel adds. Any bytes that the program gave.
    pub text: Vec<u8>,
}

impl TraceLine {
    /// The text as a string, with what is not UTF-8 replaced, and without newlines at its end.
    pub fn message(&self) -> String {
        String::from_utf8_lossy(&self.text).trim_end_matches('\n').into()
    }
}

/// As tracefs prints it, without the flags between CPU and time.
impl fmt::Display for TraceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, us) = (self.time_ns / 1_000_000_000, self.time_ns / 1_000 % 1_000_000);
        let (comm, pid, cpu) = (&self.comm, self.pid, self.cpu);
        write!(f, "{comm:>16}-{pid:<7} [{cpu:03}] {seconds:5}.{us:06}: bpf_trace_printk: {}", self.message())
    }
}

/// The trace output of some runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The lines, in the order in which they were printed.
    pub lines: Vec<TraceLine>,
    /// Lines that were printed after the limit was reached.
    pub dropped: u64,
    bytes: u64,
}

impl Trace {
    pub(crate) fn print(&mut self, limits: &TraceLimits, time_ns: u64, cpu: u32, task: &Task, text: &[u8]) {
        let bytes = self.bytes + text.len() as u64;
        if self.lines.len() as u64 >= u64::from(limits.lines_max) || bytes > u64::from(limits.bytes_max) {
            self.dropped += 1;
            return;
        }
        self.bytes = bytes;
        // The event's text is a string: what `%c` prints of a 0 ends it.
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        self.lines.push(TraceLine { time_ns, cpu, pid: task.pid, comm: task.comm_seen(), text: text.into() });
    }
}
