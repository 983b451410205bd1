//! `Recorder`: notes what helpers answer while a program runs, so that the run can be replayed as a captured context.

use super::call_shape::{self, BYTES_MAX, Returned, Shape, arg};
use super::captured::{CallKey, Calls, CapturedCall, CapturedCtx, CapturedValue};
use super::{Ctx, CtxKind};
use mimic_vm::{Before, Call, Hook, Trap};
use std::sync::{Arc, Mutex, PoisonError};

/// Notes calls. Give each process a [`Recorder::hook`] and take what came after each run.
#[derive(Clone, Default)]
pub struct Recorder {
    notes: Arc<Mutex<Notes>>,
}

/// The most calls of one run that are noted.
pub const CALLS_MAX: usize = 1 << 20;
/// The most bytes of arguments and answers of one run that are noted.
pub const NOTES_LEN_MAX: usize = 64 << 20;

#[derive(Default)]
struct Notes {
    calls: Calls,
    count: usize,
    len: usize,
    is_full: bool,
}

impl Recorder {
    /// A hook that notes here.
    pub fn hook(&self) -> Box<dyn Hook> {
        Box::new(Recording { notes: self.notes.clone(), now: None })
    }

    /// What was noted since it was last asked, as a captured context around `sub`, which the program got. The error says that there was too much.
    pub fn take(&self, sub: Ctx) -> Result<Ctx, String> {
        let notes = std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner));
        if notes.is_full {
            return Err(format!(
                "the run made more than {CALLS_MAX} calls, or their data has more than {NOTES_LEN_MAX} bytes: too much to record"
            ));
        }
        Ok(Ctx::new(sub.name.clone(), CtxKind::Captured(CapturedCtx::new(sub, notes.calls))))
    }
}

/// The hook of a process.
struct Recording {
    notes: Arc<Mutex<Notes>>,
    /// The call whose answer is waited for.
    now: Option<(CallKey, usize)>,
}

impl Recording {
    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hook for Recording {
    fn before(&mut self, call: &mut Call<'_>, args: [u64; 5]) -> Result<Before, Trap> {
        self.now = None;
        let Some(spec) = call.spec() else { return Ok(Before::Run) };
        let key = CallKey::of(spec);
        let mut params = Vec::new();
        for (reg, shape) in call_shape::args(call, args) {
            let value = arg(args, reg);
            match shape {
                Shape::Number => params.push((reg, CapturedValue::Number(value))),
                Shape::Memory { len, input: true, .. } => {
                    let bytes = call.read_vec(value, len).ok();
                    params.extend(bytes.map(|bytes| (reg, CapturedValue::Bytes(bytes))));
                }
                Shape::Memory { .. } | Shape::Address => {}
            }
        }
        let mut notes = self.notes();
        notes.count += 1;
        notes.len += len_of(&params);
        notes.is_full |= notes.count > CALLS_MAX || notes.len > NOTES_LEN_MAX;
        if !notes.is_full {
            let calls = notes.calls.entry(key.clone()).or_default();
            calls.push(CapturedCall { params, results: Vec::new() });
            let at = calls.len() - 1;
            drop(notes);
            self.now = Some((key, at));
        }
        Ok(Before::Run)
    }

    fn after(&mut self, call: &mut Call<'_>, args: [u64; 5], r0: u64) -> Result<u64, Trap> {
        let Some((key, at)) = self.now.take() else { return Ok(r0) };
        let mut results = vec![(0, returned(call, args, r0))];
        for (reg, shape) in call_shape::args(call, args) {
            if let Shape::Memory { len, output: true, .. } = shape {
                let bytes = call.read_vec(arg(args, reg), len).ok();
                results.extend(bytes.map(|bytes| (reg, CapturedValue::Bytes(bytes))));
            }
        }
        let mut notes = self.notes();
        notes.len += len_of(&results);
        if let Some(known) = notes.calls.get_mut(&key).and_then(|calls| calls.get_mut(at)) {
            known.results = results;
        }
        Ok(r0)
    }
}

fn len_of(values: &[(u8, CapturedValue)]) -> usize {
    let len = |(_, value): &(u8, CapturedValue)| match value {
        CapturedValue::Number(_) => 8,
        CapturedValue::Bytes(bytes) => bytes.len(),
    };
    values.iter().map(len).sum()
}

/// What r0 is elsewhere: a number, or the bytes that it points at.
fn returned(call: &Call<'_>, args: [u64; 5], r0: u64) -> CapturedValue {
    let len = match call_shape::returned(call, args) {
        _ if r0 == 0 => return CapturedValue::Number(0),
        Returned::Number => return CapturedValue::Number(r0),
        Returned::Room => 0,
        Returned::MapValue(len) => len,
        Returned::Object => {
            let place = call.view().place(r0).filter(|place| place.inside);
            place.map_or(0, |place| u64::from(place.len).saturating_sub(place.off as u64).min(BYTES_MAX))
        }
    };
    CapturedValue::Bytes(call.read_vec(r0, len).unwrap_or_default())
}
