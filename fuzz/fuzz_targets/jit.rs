//! Any instructions, unverified, as compiled code: with precise checks they end as in the interpreter, in the cage they leave the host
//! alone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mimic::abi::{ByteOrder, RawInsn};
use mimic::object::Program;
use mimic_fuzz::run_everywhere;

fuzz_target!(|bytes: &[u8]| {
    let Ok(code) = RawInsn::parse_all(&bytes[..bytes.len() / 8 * 8], ByteOrder::NATIVE) else { return };
    run_everywhere(&Program::from_code("fuzz", code, ByteOrder::NATIVE), &[]);
});
