//! Iterator programs: they are run for each object of a kind, and print into a file that a user reads.
//!
//! [`read_iter`] does what reading the file of such a program does, `seq_num`s, the last run without object, and buffer included.
//! Documentation/bpf/bpf_iterators.rst.

use super::SeqFile;
use super::tracing::{Arg, Word, place, write_words};
use mimic_abi::btf::KindCode;
use mimic_abi::{Errno, Size};
use mimic_vm::memory::{Access, Layout};
use mimic_vm::{Context, ContextError, Process, Region, RunError, Setup};
use std::sync::Arc;

/// What an iterator program gets: `struct bpf_iter__*`, a pointer to `struct bpf_iter_meta` and then what it iterates over.
#[derive(Clone, Debug, Default)]
pub struct IterContext {
    /// The members behind `meta`, in places of 8 bytes. In the last run the pointers among them are NULL.
    pub object: Vec<Arg>,
    /// `meta->session_id`: the same for all runs of one open file.
    pub session_id: u64,
    /// `meta->seq_num`: how many objects there were before, none of them skipped.
    pub seq_num: u64,
    /// What `meta->seq` points at.
    pub seq: SeqFile,
    seq_region: Option<Arc<Region>>,
}

/// Bytes of `struct bpf_iter_meta`: a pointer and two numbers.
const META_LEN: u32 = 24;
/// What faults call what members point at.
const MEMBERS: [&str; 4] = ["iter_object", "iter_object2", "iter_object3", "iter_object4"];

impl IterContext {
    /// The context of one object.
    pub fn new(object: impl IntoIterator<Item = Arg>) -> IterContext {
        IterContext { object: object.into_iter().collect(), ..IterContext::default() }
    }

    /// The address of the `struct seq_file` in the last run.
    pub(crate) fn seq_addr(&self) -> Option<u64> {
        self.seq_region.as_ref().map(|region| region.base())
    }
}

impl Context for IterContext {
    fn enter(&mut self, setup: &mut Setup<'_>) -> Result<[u64; 5], ContextError> {
        if self.object.len() > MEMBERS.len() {
            let why = format!("an iterator's context has at most {} members behind meta", MEMBERS.len());
            return Err(ContextError::Errno(Errno::EINVAL, why));
        }
        let btf = setup.emulator::<crate::Linux>().and_then(|linux| linux.btf());
        let seq_len = btf.and_then(|btf| btf.size_of(btf.find("seq_file", KindCode::Struct)?.id));
        let seq =
            setup.region("seq_file", seq_len.unwrap_or(8).clamp(8, 4096), Layout::Bytes(Access::Read))?;
        let meta = setup.region("bpf_iter_meta", META_LEN, Layout::Bytes(Access::Read))?;
        for (off, value) in [(0, seq.base()), (8, self.session_id), (16, self.seq_num)] {
            meta.store(off, Size::Dw, value);
        }
        let mut words = vec![Word::Long(meta.base())];
        for (arg, name) in self.object.iter().zip(MEMBERS) {
            words.push(place(arg, name, setup)?.0);
        }
        self.seq_region = Some(seq);
        Ok([write_words("context", &words, setup)?, 0, 0, 0, 0])
    }
}

/// What came of reading an iterator's file to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IterOut {
    /// The text.
    pub text: Vec<u8>,
    /// Runs of the program.
    pub runs: u64,
    /// What read(2) answered at last, if the text ends with an error.
    pub errno: Option<Errno>,
}

/// The most text of one file, in bytes.
pub const ITER_TEXT_MAX: usize = 64 << 20;
/// How often in a row a program may ask for the same object again (it returned 1).
const RETRIES_MAX: u32 = 16;

/// Runs the program of `process` for each of these objects, and once more with `last`, as a user does who reads its file to the end.
///
/// A run whose text does not fit the rest of the buffer is repeated in the next read, as in Linux. The file ends with `E2BIG` if one
/// object's text does not fit at all, and with `EAGAIN` if the program asks for the same object over and over.
pub fn read_iter(
    process: &mut Process,
    session_id: u64,
    objects: impl IntoIterator<Item = Vec<Arg>>,
    last: Vec<Arg>,
) -> Result<IterOut, RunError> {
    let mut reader = Reader {
        process,
        context: IterContext { session_id, ..IterContext::default() },
        out: IterOut::default(),
    };
    for object in objects {
        if !reader.show(object)? {
            return Ok(reader.out);
        }
        reader.context.seq_num += 1;
    }
    // The last run has the number of the object that is not there.
    reader.show(last)?;
    let rest = reader.context.seq.take();
    reader.flush(rest);
    Ok(reader.out)
}

struct Reader<'a> {
    process: &'a mut Process,
    context: IterContext,
    out: IterOut,
}

impl Reader<'_> {
    /// Runs the program for an object until its text is in the buffer. False if the file ends here.
    fn show(&mut self, object: Vec<Arg>) -> Result<bool, RunError> {
        self.context.object = object;
        let mut retries = 0;
        loop {
            let before = self.context.seq.text().len();
            let r0 = self.process.run(&mut self.context)?.r0;
            self.out.runs += 1;
            let again = r0 as u32 != 0;
            if !again && !self.context.seq.overflowed() {
                return Ok(true);
            }
            // The user gets what was there before, and reads again.
            self.context.seq.truncate(before);
            let text = self.context.seq.take();
            self.flush(text);
            retries += 1;
            let errno = match (again, before) {
                (true, _) if retries > RETRIES_MAX => Errno::EAGAIN,
                (false, 0) => Errno::E2BIG,
                _ if self.out.text.len() >= ITER_TEXT_MAX => Errno::EFBIG,
                _ => continue,
            };
            self.out.errno = Some(errno);
            return Ok(false);
        }
    }

    fn flush(&mut self, text: Vec<u8>) {
        self.out.text.extend_from_slice(&text);
    }
}
