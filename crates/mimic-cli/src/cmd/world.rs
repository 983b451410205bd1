//! `mimic world`: World files, shown and made.

use crate::args::{WorldArgs, WorldCommand, WorldDump};
use crate::{Done, machine};
use mimic::linux::World;
use mimic::world::{Detail, write_world};
use std::io::Write;

pub(crate) fn run(args: &WorldArgs) -> Done {
    match &args.command {
        WorldCommand::Dump(args) => dump(args),
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
