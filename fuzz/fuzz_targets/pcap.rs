//! Any bytes: a capture is read packet by packet, or refused with the packet's number.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mimic::pcap::{FRAME_LEN_MAX, Frame, PacketSource, PcapReader};

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut reader) = PcapReader::new(std::io::Cursor::new(bytes.to_vec())) else { return };
    let mut frame = Frame::default();
    for _ in 0..1000 {
        match reader.next(&mut frame) {
            Ok(true) => assert!(frame.bytes.len() <= FRAME_LEN_MAX + 14),
            Ok(false) => return,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return;
            }
        }
    }
});
