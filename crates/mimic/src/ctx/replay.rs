//! `Replay`: a hook that gives a program the answers of a capture: the n-th call of a function gets its n-th answer.
//!
//! Helpers run all the same, for what they do beside answering: maps, packets, ring buffers and trace output follow. Their answers are then replaced by the
//! captured ones, or compared with them. A helper that is not there is only answered for.

use super::call_shape::{self, Returned, Shape, arg};
use super::captured::{CallKey, Calls, CapturedCall, CapturedValue};
use mimic_abi::Support;
use mimic_vm::{Before, Call, FaultKind, Hook, Trap};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Whose answers a program gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplayMode {
    /// The captured ones; where there are none, the emulator's.
    #[default]
    Prefer,
    /// The captured ones; a call that was not captured stops the program.
    Only,
    /// The emulator's, compared with the captured ones.
    Verify,
}

/// What happens when a program calls a helper with other arguments than when it was captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mismatch {
    /// The captured answer is given, and the difference noted.
    #[default]
    Warn,
    /// The program is stopped.
    Fail,
}

/// Answers helper calls from a capture.
pub struct Replay {
    calls: Calls,
    at: BTreeMap<CallKey, usize>,
    mode: ReplayMode,
    mismatch: Mismatch,
    /// The call that runs now, if its answer was captured.
    now: Option<(CallKey, usize)>,
    objects: Objects,
    warnings: Arc<Mutex<Vec<String>>>,
}

/// The most differences that are noted.
const WARNINGS_MAX: usize = 64;

impl Replay {
    pub(super) fn new(calls: Calls, mode: ReplayMode, mismatch: Mismatch) -> Replay {
        let (at, objects, warnings) = (BTreeMap::new(), Objects::default(), Arc::default());
        Replay { calls, at, mode, mismatch, now: None, objects, warnings }
    }

    /// Where differences are noted.
    pub fn warnings(&self) -> Arc<Mutex<Vec<String>>> {
        self.warnings.clone()
    }

    fn note(&self, what: String) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if warnings.len() < WARNINGS_MAX {
            warnings.push(what);
        }
    }

    fn call(&self, key: &CallKey, at: usize) -> Option<&CapturedCall> {
        self.calls.get(key)?.get(at)
    }

    /// Says what a call has that is not as it was captured.
    fn check_params(&self, call: &Call<'_>, args: [u64; 5], key: &CallKey, at: usize) -> Result<(), Trap> {
        let Some(captured) = self.call(key, at) else { return Ok(()) };
        for (reg, value) in &captured.params {
            let Some(what) = difference(call, args, *reg, value)? else { continue };
            let what = format!("call {} was captured with other arguments: {what}", at + 1);
            if self.mismatch == Mismatch::Fail {
                return Err(FaultKind::Argument { helper: call.name().clone(), what }.into());
            }
            self.note(format!("{}: {what}", call.name()));
        }
        Ok(())
    }

    /// Gives the captured answer in place of `r0` and of what the helper wrote, or compares them.
    fn answer(
        &mut self,
        call: &mut Call<'_>,
        args: [u64; 5],
        key: &CallKey,
        at: usize,
        r0: u64,
    ) -> Result<u64, Trap> {
        let results = self.call(key, at).map(|captured| captured.results.clone()).unwrap_or_default();
        let mut answer = r0;
        for (reg, value) in &results {
            match (reg, value) {
                (0, value) => answer = self.returned(call, args, at, r0, value)?,
                (_, CapturedValue::Number(_)) => {}
                (reg, CapturedValue::Bytes(bytes)) => {
                    if self.differs(call, at, arg(args, *reg), bytes, &format!("bytes behind r{reg}"))? {
                        call.write(arg(args, *reg), bytes)?;
                    }
                }
            }
        }
        Ok(answer)
    }

    /// Whether bytes have to be put in place of those at `addr`. A difference is noted when answers are verified.
    fn differs(&self, call: &Call<'_>, at: usize, addr: u64, bytes: &[u8], what: &str) -> Result<bool, Trap> {
        let found = call.read_vec(addr, bytes.len() as u64).ok();
        let differs = found.as_deref() != Some(bytes);
        if self.mode == ReplayMode::Verify {
            if differs {
                self.note(format!("{}: call {} answers other {what} than captured", call.name(), at + 1));
            }
            return Ok(false);
        }
        Ok(differs)
    }

    fn returned(
        &mut self,
        call: &mut Call<'_>,
        args: [u64; 5],
        at: usize,
        r0: u64,
        captured: &CapturedValue,
    ) -> Result<u64, Trap> {
        let shape = call_shape::returned(call, args);
        match captured {
            CapturedValue::Number(number) if shape == Returned::Number || *number == 0 => {
                if self.mode != ReplayMode::Verify {
                    return Ok(*number);
                }
                if *number != r0 {
                    let (then, now) = (*number as i64, r0 as i64);
                    self.note(format!("{}: call {} answers {now}, captured was {then}", call.name(), at + 1));
                }
                Ok(r0)
            }
            // An address of another machine.
            CapturedValue::Number(_) => Ok(r0),
            CapturedValue::Bytes(bytes) if r0 != 0 => {
                if !bytes.is_empty() && self.differs(call, at, r0, bytes, "bytes behind r0")? {
                    call.write(r0, bytes)?;
                }
                Ok(r0)
            }
            CapturedValue::Bytes(_) if self.mode == ReplayMode::Verify => {
                self.note(format!("{}: call {} answers NULL, captured was an object", call.name(), at + 1));
                Ok(r0)
            }
            CapturedValue::Bytes(bytes) => self.objects.put(call, bytes),
        }
    }
}

impl Hook for Replay {
    fn before(&mut self, call: &mut Call<'_>, args: [u64; 5]) -> Result<Before, Trap> {
        self.now = None;
        let Some(spec) = call.spec() else { return Ok(Before::Run) };
        let (key, support) = (CallKey::of(spec), spec.support);
        let next = self.at.entry(key.clone()).or_default();
        let at = *next;
        *next += 1;
        if self.call(&key, at).is_none() {
            let what = format!("call {} was not captured", at + 1);
            match self.mode {
                ReplayMode::Prefer => {}
                ReplayMode::Only => {
                    return Err(FaultKind::Argument { helper: call.name().clone(), what }.into());
                }
                ReplayMode::Verify => self.note(format!("{}: {what}", call.name())),
            }
            return Ok(Before::Run);
        }
        self.check_params(call, args, &key, at)?;
        let is_there = matches!(support, Support::Full | Support::Partial(_));
        // What is not there cannot be verified either: it stops the program.
        if is_there && !self.objects.any(args) || self.mode == ReplayMode::Verify {
            self.now = Some((key, at));
            return Ok(Before::Run);
        }
        Ok(Before::Return(self.answer(call, args, &key, at, 0)?))
    }

    fn after(&mut self, call: &mut Call<'_>, args: [u64; 5], r0: u64) -> Result<u64, Trap> {
        match self.now.take() {
            Some((key, at)) => self.answer(call, args, &key, at, r0),
            None => Ok(r0),
        }
    }
}

/// How an argument differs from a captured one. Pointers of the captured machine mean nothing here; what they point at does.
fn difference(
    call: &Call<'_>,
    args: [u64; 5],
    reg: u8,
    value: &CapturedValue,
) -> Result<Option<String>, Trap> {
    let now = arg(args, reg);
    match value {
        CapturedValue::Bytes(bytes) => {
            let found = call.read_vec(now, bytes.len() as u64)?;
            Ok((found != *bytes).then(|| format!("other bytes behind r{reg}")))
        }
        CapturedValue::Number(then) => {
            let shapes = call_shape::args(call, args);
            let is_number = shapes.contains(&(reg, Shape::Number)) && *then < 1 << 47;
            Ok((is_number && now != *then).then(|| format!("r{reg} is {now}, it was {then}")))
        }
    }
}

/// Objects that a capture has and the emulator has not: their bytes, in memory of the process.
#[derive(Default)]
struct Objects {
    made: u32,
    range: core::ops::Range<u64>,
}

impl Objects {
    /// The longest object, in bytes.
    const LEN_MAX: u32 = 1 << 14;
    /// How many there are at a time.
    const COUNT: u32 = 16;

    fn put(&mut self, call: &mut Call<'_>, bytes: &[u8]) -> Result<u64, Trap> {
        let region = call.scratch("captured objects", Objects::LEN_MAX * Objects::COUNT)?;
        self.range = region.base()..region.base() + u64::from(region.capacity());
        let off = self.made % Objects::COUNT * Objects::LEN_MAX;
        self.made += 1;
        region.fill(off, Objects::LEN_MAX, 0);
        region.write(off, &bytes[..bytes.len().min(Objects::LEN_MAX as usize)]);
        Ok(region.base() + u64::from(off))
    }

    /// Whether any argument is one of them.
    fn any(&self, args: [u64; 5]) -> bool {
        args.iter().any(|arg| self.range.contains(arg))
    }
}
