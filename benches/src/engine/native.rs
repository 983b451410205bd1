//! The programs compiled for this machine by clang -O2, in a shared library: what the others are compared with.

use super::{Engine, Function, on_inputs};
use crate::options::Options;
use crate::program::Program;
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

type Entry = unsafe extern "C" fn(*mut u8, u64) -> u64;

struct Native {
    entry: Entry,
    memory: Vec<u8>,
}

/// Finds the program's function in the library.
pub(crate) fn load(program: &Program, options: &Options) -> Result<Box<dyn Engine>, String> {
    let entry = find(&options.native, program.name)?;
    Ok(on_inputs(Native { entry, memory: program.memory.clone() }, program))
}

fn find(library: &Path, name: &str) -> Result<Entry, String> {
    if library.as_os_str().is_empty() {
        return Err("no native library (--native FILE): run `cargo xtask bench`, which compiles it".into());
    }
    let path = CString::new(library.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    let symbol = CString::new(name).map_err(|error| error.to_string())?;
    // SAFETY: the library is the compiled `programs/*.c`, which has no constructors.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    if handle.is_null() {
        // SAFETY: after an error dlerror answers a string that lives until the next call.
        let why = unsafe { CStr::from_ptr(libc::dlerror()) };
        return Err(why.to_string_lossy().into_owned());
    }
    // SAFETY: the handle is open, and stays so.
    let function = unsafe { libc::dlsym(handle, symbol.as_ptr()) };
    if function.is_null() {
        return Err(format!("{} has no {name}", library.display()));
    }
    // SAFETY: all functions of the library that programs are named after have this type.
    Ok(unsafe { core::mem::transmute::<*mut libc::c_void, Entry>(function) })
}

impl Function for Native {
    #[inline(always)]
    fn call(&mut self, off: u32, len: u32) -> Result<u64, String> {
        let input = &mut self.memory[off as usize..][..len as usize];
        // SAFETY: the programs stay within the bytes they are given.
        Ok(unsafe { (self.entry)(input.as_mut_ptr(), u64::from(len)) })
    }
}
