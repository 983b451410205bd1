//! `mimic btf`: types of objects and kernels.

use crate::args::{Btf, BtfCommand, BtfDump, BtfFormat};
use crate::{Done, Failure, machine};
use std::io::{BufWriter, Write};

/// The longest file that is read, in bytes.
const FILE_LEN_MAX: u64 = 1 << 30;

pub(crate) fn run(args: &Btf) -> Done {
    match &args.command {
        BtfCommand::Dump(args) => dump(args),
    }
}

fn dump(args: &BtfDump) -> Done {
    if !args.types.is_empty() && args.format != BtfFormat::C {
        return Err(Failure::Usage("--type chooses types of a C header: use it with the format c".into()));
    }
    let bytes = machine::read(&args.file, FILE_LEN_MAX)?;
    let named = |error: String| Failure::Input(format!("{}: {error}", args.file.display()));
    let btf = mimic::read_btf(&bytes).map_err(named)?;
    let mut to = BufWriter::new(std::io::stdout().lock());
    match args.format {
        BtfFormat::C if args.types.is_empty() => write!(to, "{}", btf.c_header())?,
        BtfFormat::C => {
            let mut roots = Vec::new();
            for name in &args.types {
                let before = roots.len();
                roots.extend(btf.named(name).map(|ty| ty.id));
                if roots.len() == before {
                    return Err(named(format!("there is no type {name}")));
                }
            }
            write!(to, "{}", btf.c_header().only(roots).guard(false))?;
        }
        BtfFormat::Json => writeln!(to, "{}", btf.raw_json())?,
        BtfFormat::Raw => write!(to, "{}", btf.raw_text())?,
    }
    to.flush()?;
    Ok(())
}
