//! Output of iterators.

use super::btf_show;
use super::format;
use super::print::show_btf;
use super::row::READ;
use crate::progs::{IterContext, SeqFile};
use mimic_abi::{ArgType, Errno, HelperFlags, HelperSpec, arg, arg_or_null};
use mimic_vm::{Call, Helper, HelperResult, Trap};

pub(super) const ROWS: &[Helper] = &[
    Helper::new(
        HelperSpec::new(126, "seq_printf")
            .args(&[
                arg("m", ArgType::BtfId("seq_file")),
                arg("fmt", READ),
                arg("fmt_size", ArgType::Size),
                arg_or_null("data", READ),
                arg("data_len", ArgType::SizeOrZero),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 8),
        seq_printf,
    ),
    Helper::new(
        HelperSpec::new(127, "seq_write")
            .args(&[arg("m", ArgType::BtfId("seq_file")), arg("data", READ), arg("len", ArgType::SizeOrZero)])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 8),
        seq_write,
    ),
    Helper::new(
        HelperSpec::new(150, "seq_printf_btf")
            .args(&[
                arg("m", ArgType::BtfId("seq_file")),
                arg("ptr", READ),
                arg("ptr_size", ArgType::SizeOrZero),
                arg("flags", ArgType::Anything),
            ])
            .flags(HelperFlags::GPL_ONLY)
            .since(5, 10),
        seq_printf_btf,
    ),
];

fn seq_printf(call: &mut Call<'_>, m: u64, fmt: u64, len: u64, data: u64, data_len: u64) -> HelperResult {
    let args = format::read_args(call, data, u64::from(data_len as u32))?;
    let fmt = format::read_format(call, fmt, u64::from(len as u32))?;
    // With room for all that fits, so that the text is refused by its length and not cut.
    let text = format::format(call, &fmt, &args, SeqFile::SIZE + 1)?;
    let seq = seq_file(call, m)?;
    if text.len as usize > text.bytes.len() {
        seq.overflow();
    }
    if seq.write(&text.bytes) { Ok(0) } else { Err(Errno::EOVERFLOW.into()) }
}

fn seq_write(call: &mut Call<'_>, m: u64, data: u64, len: u64, _: u64, _: u64) -> HelperResult {
    let len = u64::from(len as u32);
    call.check(data, len, false)?;
    let bytes = if len >= SeqFile::SIZE as u64 { None } else { Some(call.read_vec(data, len)?) };
    let seq = seq_file(call, m)?;
    let fits = match bytes {
        Some(bytes) => seq.write(&bytes),
        None => {
            seq.overflow();
            false
        }
    };
    if fits { Ok(0) } else { Err(Errno::EOVERFLOW.into()) }
}

/// Answers what reading the value came to, and not whether its text fits.
fn seq_printf_btf(call: &mut Call<'_>, m: u64, ptr: u64, len: u64, flags: u64, _: u64) -> HelperResult {
    let shown: btf_show::Shown = show_btf(call, ptr, len, flags, SeqFile::SIZE)?;
    let seq = seq_file(call, m)?;
    if shown.len > shown.bytes.len() as u64 {
        seq.overflow();
    } else {
        seq.write(&shown.bytes);
    }
    shown.status?;
    Ok(0)
}

/// The file that an iterator prints into, which `m` must be.
fn seq_file<'a>(call: &'a mut Call<'_>, m: u64) -> Result<&'a mut SeqFile, Trap> {
    let known = call.context::<IterContext>().is_some_and(|context| context.seq_addr() == Some(m));
    if !known {
        return Err(call.bad_argument(format!("{m:#x} is not the seq_file of the iterator's context")));
    }
    let context = call.context::<IterContext>().expect("it was there");
    Ok(&mut context.seq)
}
