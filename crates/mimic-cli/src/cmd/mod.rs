//! The subcommands, a file each.

mod asm;
mod btf;
mod completions;
mod disasm;
mod list;
mod object;
mod pcap_to_ctx;
mod run;
mod test_run;
mod world;

use crate::Done;
use crate::args::Command;

/// Does what was asked for.
pub(crate) fn run(command: Command) -> Done {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Disasm(args) => disasm::run(&args),
        Command::Btf(args) => btf::run(&args),
        Command::Object(args) => object::run(&args),
        Command::TestRun(args) => test_run::run(&args),
        Command::PcapToCtx(args) => pcap_to_ctx::run(&args),
        Command::World(args) => world::run(&args),
        Command::List(args) => list::run(&args),
        Command::Asm(args) => asm::run(&args),
        Command::Completions(args) => completions::run(&args),
    }
}
