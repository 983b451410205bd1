//! Reading captures: pcap (both byte orders, micro- and nanoseconds) and pcapng.

use super::{Frame, LinkType, PacketSource};
use pcap_file::pcap::PcapReader as Classic;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use pcap_file::{PcapError as Format, TsResolution};
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;

/// The longest frame that is taken from a capture, in bytes: what an skb or an XDP buffer can hold.
pub const FRAME_LEN_MAX: usize = 256 << 10;

/// What is wrong with a capture, and where.
#[derive(Debug)]
pub struct PcapError {
    /// The packet, from 1; 0 in the header.
    pub packet: u64,
    /// What is wrong, and what was expected.
    pub what: String,
}

impl fmt::Display for PcapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.packet {
            0 => f.write_str(&self.what),
            packet => write!(f, "packet {packet}: {}", self.what),
        }
    }
}

impl std::error::Error for PcapError {}

/// Packets of a pcap or pcapng file.
pub struct PcapReader {
    format: Reader,
    /// Packets read so far.
    packet: u64,
    len: Option<u64>,
    read: u64,
}

type Input = Box<dyn Read + Send>;

enum Reader {
    Classic(Classic<Input>, LinkType),
    Next(PcapNgReader<Input>),
}

impl PcapReader {
    /// Opens a file.
    pub fn open(path: impl AsRef<Path>) -> Result<PcapReader, PcapError> {
        let io = |error: std::io::Error| PcapError { packet: 0, what: error.to_string() };
        let file = File::open(path).map_err(io)?;
        let len = file.metadata().ok().map(|metadata| metadata.len());
        let mut reader = PcapReader::new(BufReader::new(file))?;
        reader.len = len;
        Ok(reader)
    }

    /// Reads a capture from anywhere; the first bytes tell the format.
    pub fn new(mut input: impl Read + Send + 'static) -> Result<PcapReader, PcapError> {
        let bad = |what: String| PcapError { packet: 0, what };
        let mut magic = [0; 4];
        input.read_exact(&mut magic).map_err(|_| bad("shorter than 4 bytes: not a capture".into()))?;
        let first = magic.map(|byte| format!("{byte:02x}")).join(" ");
        let input: Input = Box::new(Cursor::new(magic).chain(input));
        let format = if magic == [0x0a, 0x0d, 0x0d, 0x0a] {
            Reader::Next(
                PcapNgReader::new(input).map_err(|error| bad(format!("pcapng header: {}", text(&error))))?,
            )
        } else {
            let reader = Classic::new(input).map_err(|error| {
                bad(format!("not a capture in pcap or pcapng: it begins with {first} ({})", text(&error)))
            })?;
            let number = u32::from(reader.header().datalink);
            let link = LinkType::from_number(number).ok_or_else(|| bad(unknown_link(number)))?;
            Reader::Classic(reader, link)
        };
        Ok(PcapReader { format, packet: 0, len: None, read: 24 })
    }

    fn error(&self, what: String) -> PcapError {
        PcapError { packet: self.packet, what }
    }
}

impl PacketSource for PcapReader {
    fn next(&mut self, frame: &mut Frame) -> Result<bool, PcapError> {
        self.packet += 1;
        let taken = match &mut self.format {
            Reader::Classic(reader, link) => next_classic(reader, *link, frame),
            Reader::Next(reader) => next_pcapng(reader, frame),
        };
        let read = taken.map_err(|what| self.error(what))?;
        self.read += read.unwrap_or(0);
        Ok(read.is_some())
    }

    fn progress(&self) -> Option<f64> {
        let len = self.len.filter(|len| *len > 0)?;
        Some((self.read as f64 / len as f64).min(1.0))
    }
}

/// Takes a packet; answers how many bytes of the file it took.
fn next_classic(
    reader: &mut Classic<Input>,
    link: LinkType,
    frame: &mut Frame,
) -> Result<Option<u64>, String> {
    let nanos = reader.header().ts_resolution == TsResolution::NanoSecond;
    let Some(packet) = reader.next_raw_packet() else { return Ok(None) };
    let packet = packet.map_err(|error| text(&error))?;
    let fraction = u64::from(packet.ts_frac) * if nanos { 1 } else { 1000 };
    frame.time_ns = u64::from(packet.ts_sec) * 1_000_000_000 + fraction;
    fill(frame, link, &packet.data, packet.orig_len)?;
    Ok(Some(packet.data.len() as u64 + 16))
}

fn next_pcapng(reader: &mut PcapNgReader<Input>, frame: &mut Frame) -> Result<Option<u64>, String> {
    let mut read = 0;
    loop {
        let Some(block) = reader.next_block() else { return Ok(None) };
        let block = block.map_err(|error| text(&error))?.into_owned();
        let (interface, ticks, data, wire_len) = match block {
            Block::EnhancedPacket(packet) => {
                (packet.interface_id, packet.timestamp.as_nanos() as u64, packet.data, packet.original_len)
            }
            Block::SimplePacket(packet) => (0, 0, packet.data, packet.original_len),
            Block::Packet(packet) => {
                (packet.interface_id.into(), packet.timestamp, packet.data, packet.original_len)
            }
            _ => {
                read += 32;
                continue;
            }
        };
        let known = reader.interfaces().get(interface as usize);
        let known =
            known.ok_or_else(|| format!("interface {interface}, which the file does not describe"))?;
        let number = u32::from(known.linktype);
        let link = LinkType::from_number(number).ok_or_else(|| unknown_link(number))?;
        frame.time_ns = nanoseconds(ticks, &known.options);
        fill(frame, link, &data, wire_len)?;
        return Ok(Some(read + data.len() as u64 + 32));
    }
}

/// A pcapng timestamp in nanoseconds: its unit is the interface's `if_tsresol`, microseconds if that is absent.
fn nanoseconds(ticks: u64, options: &[InterfaceDescriptionOption<'_>]) -> u64 {
    let (mut resolution, mut offset_s) = (6, 0);
    for option in options {
        match option {
            InterfaceDescriptionOption::IfTsResol(value) => resolution = *value,
            InterfaceDescriptionOption::IfTsOffset(value) => offset_s = *value,
            _ => {}
        }
    }
    let ticks = u128::from(ticks) * 1_000_000_000;
    let exponent = u32::from(resolution & 0x7f);
    let per_second =
        if resolution & 0x80 == 0 { 10u128.checked_pow(exponent) } else { 1u128.checked_shl(exponent) };
    let ns = per_second.map_or(0, |per_second| ticks / per_second.max(1));
    u64::try_from(ns).unwrap_or(u64::MAX).saturating_add(offset_s.saturating_mul(1_000_000_000))
}

fn fill(frame: &mut Frame, link: LinkType, packet: &[u8], wire_len: u32) -> Result<(), String> {
    if packet.len() > FRAME_LEN_MAX {
        return Err(format!("{} bytes; at most {FRAME_LEN_MAX} can be run", packet.len()));
    }
    link.to_ethernet(packet, &mut frame.bytes)?;
    let cut = (wire_len as usize).saturating_sub(packet.len());
    frame.wire_len = (frame.bytes.len() + cut).min(u32::MAX as usize) as u32;
    Ok(())
}

fn unknown_link(number: u32) -> String {
    format!(
        "link type {number} is not known: Ethernet, raw IP, BSD loopback and Linux cooked captures can be read"
    )
}

fn text(error: &Format) -> String {
    match error {
        Format::IncompleteBuffer => "the file ends in the middle of it".into(),
        Format::IoError(error) => error.to_string(),
        other => other.to_string(),
    }
}
