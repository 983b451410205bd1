//! Captures: packets from pcap and pcapng files, and pcapng files of what became of them.
//!
//! Frames come out as Ethernet whatever the capture's link type: cooked and raw captures get an Ethernet header that says what is known
//! (see [`LinkType`]). Mirrors the pcap-savefile(5) and draft-ietf-opsawg-pcapng formats.

mod link;
mod read;
mod write;

pub use link::LinkType;
pub use read::{FRAME_LEN_MAX, PcapError, PcapReader};
pub use write::PcapngWriter;

/// A frame with its time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Nanoseconds since the Unix epoch, as captured.
    pub time_ns: u64,
    /// Bytes that the frame had on the wire; more than `bytes` holds if the capture cut it.
    pub wire_len: u32,
    /// The Ethernet frame.
    pub bytes: Vec<u8>,
}

/// Where packets come from.
pub trait PacketSource {
    /// Puts the next packet into `frame`, whose memory is used again. False at the end.
    fn next(&mut self, frame: &mut Frame) -> Result<bool, PcapError>;

    /// How much of the source has been read, from 0 to 1, where that is known.
    fn progress(&self) -> Option<f64> {
        None
    }
}

/// Where packets go.
pub trait PacketSink {
    /// Takes a packet with a comment.
    fn put(&mut self, frame: &Frame, comment: &str) -> std::io::Result<()>;
}
