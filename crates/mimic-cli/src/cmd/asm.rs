//! `mimic asm`: text to instructions.

use crate::args::{Asm, AsmFormat};
use crate::{Done, Failure};
use mimic::abi::asm::assemble;
use mimic::abi::disasm::{Style, disassemble};
use mimic::abi::{ByteOrder, RawInsn};
use std::io::{Read, Write};

/// The longest text that is read, in bytes.
const TEXT_LEN_MAX: u64 = 64 << 20;

pub(crate) fn run(args: &Asm) -> Done {
    let name = args.file.display().to_string();
    let text = read(args).map_err(|error| Failure::Input(format!("{name}: {error}")))?;
    let names = mimic::HelperNames;
    let assembly = assemble(&text, &names).map_err(|errors| {
        let lines: Vec<String> = errors
            .0
            .iter()
            .map(|error| format!("{name}:{}:{}: {}", error.line, error.column, error.message))
            .collect();
        Failure::Input(lines.join("\n       "))
    })?;
    let order = if args.big_endian { ByteOrder::Big } else { ByteOrder::Little };
    let bytes = || assembly.slots.iter().flat_map(|slot: &RawInsn| slot.to_bytes(order));
    let mut to = std::io::stdout().lock();
    match args.format {
        AsmFormat::Hex => {
            let hex: Vec<String> = bytes().map(|byte| format!("{byte:02x}")).collect();
            writeln!(to, "{}", hex.join(" "))?;
        }
        AsmFormat::Raw => to.write_all(&bytes().collect::<Vec<u8>>())?,
        AsmFormat::List => {
            for line in disassemble(&assembly.slots) {
                writeln!(to, "{}", line.display(Style::Kernel, &names))?;
            }
        }
    }
    Ok(())
}

fn read(args: &Asm) -> std::io::Result<String> {
    let mut text = String::new();
    if args.file.as_os_str() == "-" {
        std::io::stdin().lock().take(TEXT_LEN_MAX).read_to_string(&mut text)?;
    } else {
        std::fs::File::open(&args.file)?.take(TEXT_LEN_MAX).read_to_string(&mut text)?;
    }
    Ok(text)
}
