//! `SkMsgContext`: what a socket of a sock map is about to send, `struct sk_msg_md`, and what the program made of it.
//! Documentation/bpf/map_sockmap.rst.

use super::cgroup::SocketOf;
use super::layout;
use crate::net::{MESSAGE_GROWTH_MAX, Message, PACKET_LEN_MAX, Redirect, RedirectTo};
use crate::world::Socket;
use mimic_abi::{Errno, Size};
use mimic_vm::memory::{Access, Layout, Region};
use mimic_vm::{Context, ContextError, Setup};

/// A message. It can be run again and again; each run begins with `data`.
#[derive(Debug, Default)]
pub struct SkMsgContext {
    /// The bytes.
    pub data: Vec<u8>,
    /// Bytes of each piece that it comes in, at most 17; empty: one piece. The program sees the first.
    pub pieces: Vec<u32>,
    /// Its pages are somebody else's too, as splice(2) makes it: the program sees nothing until it pulls.
    pub shared: bool,
    /// The socket that sends it. If its cookie is a socket's of the world, it is that one.
    pub sock: Socket,
    socket: SocketOf,
    pub(crate) redirect: Option<Redirect>,
    message: Option<Message>,
    verdict: Option<SkMsg>,
    after: Vec<u8>,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkMsg {
    /// It is not sent: `EACCES`.
    Drop,
    /// It is sent.
    Pass,
    /// The socket of this cookie gets it.
    Redirect {
        /// The cookie.
        cookie: u64,
        /// As something that it received, not as something to send.
        ingress: bool,
    },
}

const SK_PASS: u32 = 1;
/// `BPF_F_INGRESS`.
const INGRESS: u64 = 1;

impl SkMsgContext {
    /// A message in one piece, from this socket.
    pub fn new(data: impl Into<Vec<u8>>, sock: Socket) -> SkMsgContext {
        SkMsgContext { data: data.into(), sock, ..SkMsgContext::default() }
    }

    /// What the last run decided; none if it faulted.
    pub fn verdict(&self) -> Option<SkMsg> {
        self.verdict
    }

    /// The bytes after the last run.
    pub fn data_after(&self) -> &[u8] {
        &self.after
    }

    /// For how many bytes the verdict is (`bpf_msg_apply_bytes`); 0: this message.
    pub fn apply_bytes(&self) -> u32 {
        self.message.as_ref().map_or(0, |message| message.apply_bytes)
    }

    /// How many bytes are to be there before the program is asked again (`bpf_msg_cork_bytes`); 0: it does not wait.
    pub fn cork_bytes(&self) -> u32 {
        self.message.as_ref().map_or(0, |message| message.cork_bytes)
    }

    /// The message, while a program runs.
    pub(crate) fn message_mut(&mut self) -> Option<&mut Message> {
        self.message.as_mut()
    }

    /// The address of the context, while a program runs, and the socket's cookie.
    pub(crate) fn at(&self) -> Option<(u64, u64)> {
        self.message.as_ref().map(|message| (message.md.base(), self.sock.cookie))
    }

    fn pieces(&self) -> Result<Vec<u32>, ContextError> {
        let refuse = |errno, why: String| Err(ContextError::Errno(errno, why));
        let len = self.data.len();
        if len > PACKET_LEN_MAX {
            return refuse(
                Errno::E2BIG,
                format!("a message has at most {PACKET_LEN_MAX} bytes, this one {len}"),
            );
        }
        if self.pieces.is_empty() {
            return Ok(if len == 0 { Vec::new() } else { vec![len as u32] });
        }
        let sum: u64 = self.pieces.iter().map(|piece| u64::from(*piece)).sum();
        if sum != len as u64 || self.pieces.len() > crate::net::PIECES_MAX || self.pieces.contains(&0) {
            let most = crate::net::PIECES_MAX;
            return refuse(
                Errno::EINVAL,
                format!("a message has up to {most} pieces, none empty, of {len} bytes in all"),
            );
        }
        Ok(self.pieces.clone())
    }
}

/// Writes the fields that are the socket's.
fn write_socket(md: &Region, sock: &Socket) {
    md.store(16, Size::W, sock.family.into());
    md.write(20, &sock.remote_ip4);
    md.write(24, &sock.local_ip4);
    md.write(28, &sock.remote_ip6);
    md.write(44, &sock.local_ip6);
    let [hi, lo] = sock.remote_port.to_be_bytes();
    md.write(60, &[0, 0, hi, lo]);
    md.store(64, Size::W, sock.local_port.into());
}

impl Context for SkMsgContext {
    fn enter(&mut self, setup: &mut Setup<'_>) -> Result<[u64; 5], ContextError> {
        let pieces = self.pieces()?;
        let sock = setup.region("socket", layout::SOCK_LEN, Layout::Fields(layout::SOCK))?;
        self.socket.enter(setup, &sock, &mut self.sock);
        let len = self.data.len() as u32;
        let region = setup.region("message", len + MESSAGE_GROWTH_MAX, Layout::Bytes(Access::ReadWrite))?;
        region.set_bounds(0, len);
        region.write(0, &self.data);
        let md = setup.region("context", layout::SK_MSG.size, Layout::Fields(layout::SK_MSG))?;
        md.fill(0, layout::SK_MSG.size, 0);
        write_socket(&md, &self.sock);
        md.store(72, Size::Dw, sock.base());
        let base = md.base();
        self.message = Some(Message::new(region, md, &pieces, self.shared));
        (self.redirect, self.verdict) = (None, None);
        Ok([base, 0, 0, 0, 0])
    }

    fn leave(&mut self, setup: &mut Setup<'_>, r0: Option<u64>) {
        self.socket.leave(setup, &mut self.sock);
        self.after = self.message.as_ref().map_or_else(Vec::new, Message::bytes);
        self.verdict = r0.map(|r0| match &self.redirect {
            _ if r0 as u32 != SK_PASS => SkMsg::Drop,
            Some(Redirect { to: RedirectTo::Socket { cookie, .. }, flags }) => {
                SkMsg::Redirect { cookie: *cookie, ingress: flags & INGRESS != 0 }
            }
            _ => SkMsg::Pass,
        });
    }
}
