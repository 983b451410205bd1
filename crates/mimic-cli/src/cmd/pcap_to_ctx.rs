//! `mimic pcap-to-ctx`: context files of captures.

use crate::args::{CtxType, PcapToCtx};
use crate::{Done, Failure};
use mimic::ctx::{Ctx, CtxFile, CtxKind, SkBuffCtx, XdpMdCtx};
use mimic::pcap::{Frame, PacketSource, PcapReader};
use std::fs::File;
use std::io::{BufWriter, Write};

/// The most packets that become contexts: all are in memory at once.
const CONTEXTS_MAX: usize = 1 << 20;

pub(crate) fn run(args: &PcapToCtx) -> Done {
    let named = |error: String| Failure::Input(format!("{}: {error}", args.pcap.display()));
    let mut reader = PcapReader::open(&args.pcap).map_err(|error| named(error.to_string()))?;
    let mut contexts = Vec::new();
    let mut frame = Frame::default();
    while reader.next(&mut frame).map_err(|error| named(error.to_string()))? {
        if contexts.len() == CONTEXTS_MAX {
            return Err(named(format!(
                "more than {CONTEXTS_MAX} packets; cut it (editcap -r) and convert the parts"
            )));
        }
        let name = format!(
            "packet {}, {}.{:09}",
            contexts.len() + 1,
            frame.time_ns / 1_000_000_000,
            frame.time_ns % 1_000_000_000
        );
        let packet = frame.bytes.clone();
        let kind = match args.kind {
            CtxType::XdpMd => CtxKind::XdpMd(XdpMdCtx::new(packet, 1)),
            CtxType::SkBuff => CtxKind::SkBuff(Box::new(SkBuffCtx::new(packet, 1))),
        };
        contexts.push(Ctx::new(name, kind));
    }
    let value = CtxFile::of(contexts).write();
    let mut to: Box<dyn Write> = match args.out.as_os_str() == "-" {
        true => Box::new(std::io::stdout().lock()),
        false => {
            let file = File::create(&args.out);
            let file = file.map_err(|error| Failure::Input(format!("{}: {error}", args.out.display())))?;
            Box::new(BufWriter::new(file))
        }
    };
    serde_json::to_writer_pretty(&mut to, &value).map_err(std::io::Error::from)?;
    writeln!(to)?;
    to.flush()?;
    Ok(())
}
