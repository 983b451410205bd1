//! Packets while programs look at them: the buffers in guest memory, devices, and where packets are sent.

mod bind;
mod deliver;
mod find;
mod message;
mod redirect;
pub(crate) mod route;
mod sk_buff;
pub(crate) mod sockopt;
pub(crate) mod tunnel;
mod xdp_buff;

pub mod eth;

pub use deliver::{Delivery, DropReason};
pub(crate) use find::{Wanted, connection_hash, find_socket, listener_of, reuseport_group};
pub(crate) use message::PIECES_MAX;
pub use message::{MESSAGE_GROWTH_MAX, Message};
pub use redirect::{ClonedPacket, NextHop, Redirect, RedirectTo};
pub use sk_buff::{Checksum, SkBuff};
pub(crate) use sk_buff::{
    HEADROOM as SKB_HEADROOM, TAILROOM as SKB_TAILROOM, csum_diff, csum_fold, csum_partial,
};
pub(crate) use tunnel::Tunnel;
pub use xdp_buff::{FRAGS_MAX, HEADROOM, XdpBuff};
pub(crate) use xdp_buff::{FRAME_HEADER_LEN, hard_end};

use crate::progs::{SkbContext, XdpContext};
use mimic_abi::Errno;
use mimic_vm::Call;

/// Bytes of a page: what XDP's frames and fragments are made of.
pub const PAGE_LEN: u32 = 4096;
/// Bytes that the kernel keeps at a buffer's end for itself: `struct skb_shared_info`, aligned.
pub const SHARED_INFO_LEN: u32 = 320;
/// The longest packet that a context takes, in bytes: what captures hold.
pub const PACKET_LEN_MAX: usize = 256 << 10;

/// A packet's bytes, wherever they lie: what byte helpers work on. Offsets count from the packet's first byte.
pub trait PacketBytes {
    /// Bytes of the packet, fragments included.
    fn len(&self) -> u32;

    /// Whether it is empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies bytes out; false, and nothing copied, if they are not all there.
    fn read(&self, off: u32, to: &mut [u8]) -> bool;

    /// Copies bytes in; false, and nothing copied, if they are not all there.
    fn write(&self, off: u32, from: &[u8]) -> bool;
}

/// The packet of the running program, if its context has one.
pub fn packet<'c>(call: &'c mut Call<'_>) -> Option<&'c dyn PacketBytes> {
    // Asked twice: a borrow that is returned on one branch only is not given back on the other.
    if call.context::<XdpContext>().is_some() {
        return call.context::<XdpContext>()?.buff_mut().map(|buff| &*buff as &dyn PacketBytes);
    }
    call.context::<SkbContext>()?.buff_mut().map(|buff| &*buff as &dyn PacketBytes)
}

/// What a call answers when its context is not the one that the program type has: `EINVAL`, or rather a fault that says so.
pub(crate) fn wrong_context(call: &Call<'_>, wants: &str) -> mimic_vm::Trap {
    call.bad_argument(format!("the run's context is no {wants}, which this helper works on"))
}

/// The number of bytes as a length of guest memory, or `E2BIG`.
pub(crate) fn packet_len(len: usize) -> Result<u32, Errno> {
    if len > PACKET_LEN_MAX { Err(Errno::E2BIG) } else { Ok(len as u32) }
}
