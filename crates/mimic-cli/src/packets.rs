//! Where packets come from: a capture, hexadecimal bytes, files, standard input. With a progress bar where one helps.

use crate::Failure;
use crate::args::Input;
use indicatif::{ProgressBar, ProgressStyle};
use mimic::pcap::{FRAME_LEN_MAX, Frame, PacketSource, PcapError, PcapReader};
use std::io::IsTerminal;
use std::path::Path;

/// From how many bytes on a capture gets a progress bar.
const PROGRESS_LEN: u64 = 4 << 20;
/// Steps of the progress bar.
const PROGRESS_STEPS: u64 = 1000;

/// Packets, the first of them looked at already.
pub(crate) struct Packets {
    source: Source,
    first: Option<Frame>,
    /// When the first was captured; none if the packets have no times.
    pub(crate) first_ns: Option<u64>,
    /// What the packets are called in the report.
    pub(crate) name: String,
    bar: Option<ProgressBar>,
    count: u64,
}

enum Source {
    Pcap(Box<PcapReader>),
    Given(std::vec::IntoIter<Vec<u8>>),
}

impl Packets {
    /// Opens what the options name.
    pub(crate) fn open(input: &Input) -> Result<Packets, Failure> {
        let mut packets = match &input.pcap {
            Some(path) => Packets::capture(path)?,
            None => Packets::given(input)?,
        };
        let mut first = Frame::default();
        let any =
            packets.next(&mut first).map_err(|error| Failure::Input(format!("{}: {error}", packets.name)))?;
        if !any {
            return Err(Failure::Input(format!("{}: there is no packet in it", packets.name)));
        }
        packets.first_ns = input.pcap.as_ref().map(|_| first.time_ns);
        packets.first = Some(first);
        Ok(packets)
    }

    fn capture(path: &Path) -> Result<Packets, Failure> {
        let name = path.display().to_string();
        let bad = |error: PcapError| Failure::Input(format!("{name}: {error}"));
        if path.as_os_str() == "-" {
            let reader = PcapReader::new(std::io::stdin()).map_err(bad)?;
            return Ok(Packets::new(Source::Pcap(Box::new(reader)), "standard input".into()));
        }
        let reader = PcapReader::open(path).map_err(bad)?;
        let len = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let mut packets = Packets::new(Source::Pcap(Box::new(reader)), name);
        if len >= PROGRESS_LEN && std::io::stderr().is_terminal() {
            packets.bar = Some(bar());
        }
        Ok(packets)
    }

    fn given(input: &Input) -> Result<Packets, Failure> {
        let mut packets = Vec::new();
        for text in &input.hex {
            let bytes = mimic::unhex(text).map_err(|error| Failure::Input(format!("--hex: {error}")))?;
            packets.push(bytes);
        }
        for path in &input.file {
            packets.push(crate::machine::read(path, FRAME_LEN_MAX as u64)?);
        }
        let name = match packets.len() {
            1 => "1 packet".into(),
            count => format!("{count} packets"),
        };
        Ok(Packets::new(Source::Given(packets.into_iter()), name))
    }

    fn new(source: Source, name: String) -> Packets {
        Packets { source, first: None, first_ns: None, name, bar: None, count: 0 }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(PROGRESS_STEPS);
    let style = ProgressStyle::with_template("{bar:40.cyan/dim} {percent:>3} %  {msg}  {eta} left");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

impl PacketSource for Packets {
    fn next(&mut self, frame: &mut Frame) -> Result<bool, PcapError> {
        if let Some(first) = self.first.take() {
            *frame = first;
            return Ok(true);
        }
        let more = match &mut self.source {
            Source::Pcap(reader) => reader.next(frame)?,
            Source::Given(packets) => match packets.next() {
                Some(bytes) => {
                    (frame.time_ns, frame.wire_len, frame.bytes) = (0, bytes.len() as u32, bytes);
                    true
                }
                None => false,
            },
        };
        self.count += u64::from(more);
        if let Some(bar) = &self.bar {
            match more {
                false => bar.finish_and_clear(),
                true if self.count.is_multiple_of(4096) => {
                    bar.set_position((self.progress().unwrap_or(0.0) * PROGRESS_STEPS as f64) as u64);
                    bar.set_message(format!("{} packets", self.count));
                }
                true => {}
            }
        }
        Ok(more)
    }

    fn progress(&self) -> Option<f64> {
        match &self.source {
            Source::Pcap(reader) => reader.progress(),
            Source::Given(_) => None,
        }
    }
}
