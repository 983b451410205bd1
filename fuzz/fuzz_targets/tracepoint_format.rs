//! Any text as a tracepoint's `format` file: it is read or refused, and a record of what was read takes what is set in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mimic::abi::ByteOrder;
use mimic::linux::progs::TracepointFormat;

fuzz_target!(|text: &str| {
    let Ok(format) = TracepointFormat::parse(text) else { return };
    let mut record = format.record();
    let len = record.record.len();
    for field in &format.fields {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            record.set(&format, &field.name, u64::MAX, order);
            record.set_bytes(&format, &field.name, text.as_bytes(), order);
        }
    }
    assert!(record.record.len() >= len);
});
