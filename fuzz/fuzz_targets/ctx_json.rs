//! Any text: a context file or a World file is read or refused with its JSON path, and what was read is written and read again alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mimic::ctx::CtxFile;
use mimic::world::{Detail, read_world, write_world};

fuzz_target!(|text: &str| {
    if let Ok(world) = read_world(text) {
        for detail in [Detail::Stated, Detail::All] {
            let written = write_world(&world, detail);
            assert_eq!(read_world(&written.to_string()).as_ref(), Ok(&world));
        }
    }
    let Ok(file) = CtxFile::read(text) else { return };
    let written = file.write();
    let again = CtxFile::read(&written.to_string()).expect("what was written can be read");
    assert_eq!(again.write(), written);
});
