//! Programs and BTF in the kernel by descriptor: load, bind maps, test-run.

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mimic_abi::Errno;

use super::Map;
use super::sys::{self, ProgAttr, TestRunAnswer, TestRunAttr};

/// A loaded program, closed when dropped.
#[derive(Debug)]
pub struct Prog {
    fd: OwnedFd,
}

/// BTF that the kernel has taken, closed when dropped.
#[derive(Debug)]
pub struct Btf {
    fd: OwnedFd,
}

/// Why the kernel did not take a program or a BTF, with its log if one was asked for.
#[derive(Clone)]
pub struct LoadError {
    /// What bpf(2) answered.
    pub errno: Errno,
    /// The verifier's log; empty at log level 0.
    pub log: String,
}

/// The log's room: 16 MiB hold every log of the kernel's selftests at level 1.
const LOG_LEN: usize = 16 << 20;

/// Programs that were loaded, and how many may be before the kernel is given time to free those that are closed.
static LOADS: AtomicUsize = AtomicUsize::new(0);
const LOADS_UNSETTLED: usize = 64;
const PATIENCE: Duration = Duration::from_secs(1);

impl Prog {
    /// BPF_PROG_LOAD, without its log but for `attr.log_level`.
    pub fn load(attr: &ProgAttr<'_>) -> Result<Prog, LoadError> {
        Prog::load_with_log(attr).map(|(prog, _)| prog)
    }

    /// BPF_PROG_LOAD with the verifier's log at `attr.log_level`.
    pub fn load_with_log(attr: &ProgAttr<'_>) -> Result<(Prog, String), LoadError> {
        if LOADS.fetch_add(1, Ordering::Relaxed) % LOADS_UNSETTLED == LOADS_UNSETTLED - 1 {
            // Whoever holds many programs open waits in vain, and goes on.
            super::settled_within(PATIENCE);
        }
        let mut log = vec![0; if attr.log_level == 0 { 0 } else { LOG_LEN }];
        let result = sys::prog_load(attr, &mut log);
        let log = text(log);
        match result {
            Ok(fd) => Ok((Prog { fd }, log)),
            Err(errno) => Err(LoadError { errno, log }),
        }
    }

    /// As `load`, and once more with the log when the kernel refuses: fast when it accepts, and telling when not.
    pub fn load_or_explain(attr: &ProgAttr<'_>) -> Result<Prog, LoadError> {
        let quiet = ProgAttr { log_level: 0, ..attr.clone() };
        Prog::load(&quiet)
            .or_else(|_| Prog::load(&ProgAttr { log_level: attr.log_level.max(1), ..attr.clone() }))
    }

    /// BPF_PROG_TEST_RUN.
    pub fn test_run(&self, attr: &TestRunAttr<'_>) -> TestRunAnswer {
        sys::prog_test_run(&self.fd, attr)
    }

    /// BPF_PROG_BIND_MAP: the program keeps the map alive though no instruction names it.
    pub fn bind(&self, map: &Map) -> Result<(), Errno> {
        sys::prog_bind_map(&self.fd, map.fd())
    }

    /// How many instructions the verifier walked (`struct bpf_prog_info`'s `verified_insns`).
    pub fn verified_insns(&self) -> Result<u32, Errno> {
        const VERIFIED_INSNS_OFF: usize = 216;
        let mut info = [0; 232];
        sys::object_info(&self.fd, &mut info)?;
        let word = info[VERIFIED_INSNS_OFF..VERIFIED_INSNS_OFF + 4].try_into();
        Ok(word.map_or(0, u32::from_ne_bytes))
    }
}

impl AsRawFd for Prog {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Btf {
    /// BPF_BTF_LOAD; on refusal once more, with the log.
    pub fn load(btf: &[u8]) -> Result<Btf, LoadError> {
        let refusal = |_| {
            let mut log = vec![0; LOG_LEN];
            let result = sys::btf_load(btf, 1, &mut log);
            result.map_err(|errno| LoadError { errno, log: text(log) })
        };
        let fd = sys::btf_load(btf, 0, &mut []).or_else(refusal)?;
        Ok(Btf { fd })
    }
}

impl AsRawFd for Btf {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl fmt::Debug for LoadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.errno)?;
        // The last lines say why; all of a long log hides them.
        let lines: Vec<&str> = self.log.lines().collect();
        for line in &lines[lines.len().saturating_sub(40)..] {
            write!(out, "\n  {line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadError {}

fn text(mut log: Vec<u8>) -> String {
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    log.truncate(end);
    String::from_utf8_lossy(&log).into_owned()
}
