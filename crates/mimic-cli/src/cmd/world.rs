//! `mimic world`: World files, shown and made.

use crate::args::{WorldArgs, WorldCapture, WorldCommand, WorldDump};
use crate::capture::{Capture, Wanted};
use crate::{Done, Failure, machine};
use mimic::linux::World;
use mimic::world::{Detail, write_world};
use std::io::Write;

pub(crate) fn run(args: &WorldArgs) -> Done {
    match &args.command {
        WorldCommand::Dump(args) => dump(args),
        WorldCommand::Capture(args) => capture(args),
    }
}

fn dump(args: &WorldDump) -> Done {
    let world = match args.test_run {
        true => World::of_test_run(0),
        false => machine::world(args.file.as_deref())?.unwrap_or_default(),
    };
    let detail = if args.stated { Detail::Stated } else { Detail::All };
    writeln!(std::io::stdout().lock(), "{:#}", write_world(&world, detail))?;
    Ok(())
}

fn capture(args: &WorldCapture) -> Done {
    let captured = Capture::new(Wanted { ksyms: args.ksyms }).map_err(Failure::Input)?;
    writeln!(std::io::stdout().lock(), "{:#}", write_world(&captured.world, Detail::Stated))?;
    if !args.quiet {
        for what in &captured.left_out {
            crate::out::warning(&format!("left out: {what}"));
        }
    }
    Ok(())
}
