//! `cargo xtask conformance-plugin [MEMORY] [--program HEX] [--elf]`: runs one program for the public bpf_conformance suite.
//!
//! The suite's protocol: memory as hexadecimal bytes parted by spaces in the first argument, if any; the program in the same
//! form on one line of standard input (an ELF object with `--elf`); r0 in hexadecimal on standard output; on failure a status
//! other than 0 and the reason on standard error. r1 is the memory, r2 its length, and nothing is verified first.

use std::io::{BufRead, Read};

use mimic_tests::conformance;

use crate::Outcome;

/// The most characters of a program: three a byte of a million instructions, doubled for the suite's double spaces.
const LINE_MAX: u64 = 64 << 20;

/// Runs the program and prints r0.
pub(crate) fn run(args: &[String]) -> Outcome {
    let mut memory = Vec::new();
    let (mut program, mut elf) = (None, false);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--elf" => elf = true,
            "--debug" | "" => {}
            "--program" => {
                program = Some(args.next().ok_or("--program wants the program in hexadecimal")?.clone())
            }
            option if option.starts_with("--") => return Err(format!("unknown option {option}")),
            hex => memory = bytes(hex).map_err(|error| format!("memory: {error}"))?,
        }
    }
    let program = match program {
        Some(program) => program,
        None => line()?,
    };
    let program = bytes(&program).map_err(|error| format!("program: {error}"))?;
    let r0 = match elf {
        true => conformance::run_object(&program, &memory)?,
        false => conformance::run_bytes(&program, &memory)?,
    };
    println!("{r0:x}");
    Ok(())
}

fn line() -> Result<String, String> {
    let mut line = String::new();
    let read = std::io::stdin().lock().take(LINE_MAX).read_line(&mut line);
    read.map_err(|error| format!("standard input: {error}"))?;
    Ok(line)
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let byte =
        |byte| u8::from_str_radix(byte, 16).map_err(|_| format!("{byte:?} is not a byte in hexadecimal"));
    text.split_whitespace().map(byte).collect()
}
