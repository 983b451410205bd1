//! Writing pcapng: Ethernet frames, nanosecond times, a comment on each.

use super::{Frame, PacketSink};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::{DataLink, PcapError};
use std::borrow::Cow;
use std::io::{self, Write};
use std::time::Duration;

/// A pcapng file in the making.
pub struct PcapngWriter<W: Write> {
    inner: PcapNgWriter<W>,
}

impl<W: Write> PcapngWriter<W> {
    /// Writes the header.
    pub fn new(to: W) -> io::Result<PcapngWriter<W>> {
        let mut inner = PcapNgWriter::new(to).map_err(into_io)?;
        let interface = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: 0,
            options: vec![InterfaceDescriptionOption::IfTsResol(9)],
        };
        inner.write_pcapng_block(interface).map_err(into_io)?;
        Ok(PcapngWriter { inner })
    }

    /// The writer underneath.
    pub fn get_mut(&mut self) -> &mut W {
        self.inner.get_mut()
    }
}

impl<W: Write> PacketSink for PcapngWriter<W> {
    fn put(&mut self, frame: &Frame, comment: &str) -> io::Result<()> {
        let options =
            if comment.is_empty() { vec![] } else { vec![EnhancedPacketOption::Comment(comment.into())] };
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::from_nanos(frame.time_ns),
            original_len: frame.wire_len.max(frame.bytes.len() as u32),
            data: Cow::Borrowed(&frame.bytes),
            options,
        };
        self.inner.write_pcapng_block(block).map(|_| ()).map_err(into_io)
    }
}

fn into_io(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PacketSource, PcapReader};
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let frames: Vec<Frame> = (0..3)
            .map(|n| Frame {
                time_ns: 1_700_000_000_123_456_789 + n,
                wire_len: 100,
                bytes: vec![n as u8; 60 + n as usize],
            })
            .collect();
        let mut writer = PcapngWriter::new(Vec::new()).expect("a vector takes it");
        for frame in &frames {
            writer.put(frame, "XDP_PASS").expect("a vector takes it");
        }
        let bytes = writer.get_mut().clone();
        let mut reader = PcapReader::new(io::Cursor::new(bytes)).expect("it is a capture");
        let mut frame = Frame::default();
        for expected in &frames {
            assert!(reader.next(&mut frame).expect("a packet"));
            assert_eq!(frame, *expected);
        }
        assert!(!reader.next(&mut frame).expect("the end"));
    }
}
