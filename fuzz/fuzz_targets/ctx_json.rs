//! Any text: a context file is read or refused with its JSON path, and what was read is written and read again alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mimic::ctx::CtxFile;

fuzz_target!(|text: &str| {
    let Ok(file) = CtxFile::read(text) else { return };
    let written = file.write();
    let again = CtxFile::read(&written.to_string()).expect("what was written can be read");
    assert_eq!(again.write(), written);
});
