//! A kernel function and a helper of one's own: the program calls what no kernel has, and closures of this process answer.
//!
//! The function's prototype is the one that the program declares (`extern … __ksym`): arguments come as its types have them, and memory is
//! checked before the closure sees it.

use mimic::LoadExt;
use mimic::linux::{Linux, progs::XdpContext};
use mimic::object::Object;
use mimic::vm::{Prototype, Vm};
use std::sync::{Arc, Mutex};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("expected an object file")?;
    let object = Object::parse(&std::fs::read(path)?)?;
    let types = object.btf.as_ref().ok_or("the object has no types: compile with -g")?;

    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let vm = Vm::builder(Linux::default())
        // __u32 plugin_score(const void *data, __u32 data__sz, int bias)
        .kfunc(Prototype::of(types, "plugin_score")?, |call, [data, len, bias, ..]| {
            let bytes = call.read_vec(data, len)?;
            let sum: i64 = bytes.iter().map(|byte| i64::from(*byte)).sum();
            Ok((sum + bias as i64) as u64)
        })
        // void plugin_log(const char *text__str, __u64 value)
        .kfunc(Prototype::of(types, "plugin_log")?, move |call, [text, value, ..]| {
            let text = call.view().read_cstr(text, 64).ok().flatten().unwrap_or_default();
            let line = format!("{}: {value}", String::from_utf8_lossy(&text));
            log.lock().map_err(|_| mimic::abi::Errno::EIO)?.push(line);
            Ok(0)
        })
        .build()?;
    let loaded = vm.load(&object)?;

    let run = loaded.program("score")?.run(XdpContext::packet([1; 64]))?;
    println!("the program returned {}", run.outcome.r0);
    for line in seen.lock().map_err(|_| "a closure panicked")?.iter() {
        println!("it said {line}");
    }
    Ok(())
}
