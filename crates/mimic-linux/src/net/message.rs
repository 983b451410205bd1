//! `Message`: what a socket sends, while a program looks at it: bytes in pieces, of which the program sees a part in one piece.
//! `struct sk_msg`, and `struct sk_msg_md` of linux/bpf.h.
//!
//! The bytes lie behind one another in guest memory; where a piece ends decides what helpers give in one piece, as in the kernel.

use mimic_abi::{Errno, Size};
use mimic_vm::Region;
use std::sync::Arc;

/// The most bytes that programs add to a message.
pub const MESSAGE_GROWTH_MAX: u32 = 64 << 10;
/// The most pieces: `MAX_SKB_FRAGS`.
pub(crate) const PIECES_MAX: usize = 17;

/// A piece of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    /// Bytes.
    len: u32,
    /// Its pages are somebody else's too (spliced): programs do not see it until it is copied.
    shared: bool,
}

/// A message in guest memory.
#[derive(Debug)]
pub struct Message {
    region: Arc<Region>,
    /// `struct sk_msg_md`.
    pub(crate) md: Arc<Region>,
    pieces: Vec<Piece>,
    /// Bytes that the verdict is for (`bpf_msg_apply_bytes`).
    pub(crate) apply_bytes: u32,
    /// Bytes that the next verdict waits for (`bpf_msg_cork_bytes`).
    pub(crate) cork_bytes: u32,
}

impl Message {
    /// A message of these pieces, whose bytes are in `region` already.
    pub(crate) fn new(region: Arc<Region>, md: Arc<Region>, pieces: &[u32], shared: bool) -> Message {
        let pieces = pieces.iter().map(|len| Piece { len: *len, shared }).collect();
        let message = Message { region, md, pieces, apply_bytes: 0, cork_bytes: 0 };
        message.show_first();
        message
    }

    /// Bytes.
    pub fn len(&self) -> u32 {
        self.pieces.iter().map(|piece| piece.len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len() as usize];
        self.region.read(0, &mut bytes);
        bytes
    }

    /// Makes the bytes from `start` to `end` what the program sees, in one piece.
    pub(crate) fn pull(&mut self, start: u32, end: u32) -> Result<(), Errno> {
        if end <= start {
            return Err(Errno::EINVAL);
        }
        let (first, off) = self.piece_at(start).ok_or(Errno::EINVAL)?;
        let wanted = end - off;
        if self.pieces[first].shared || wanted > self.pieces[first].len {
            self.join(first, wanted)?;
        }
        self.show(start, end);
        Ok(())
    }

    /// Joins pieces from `first` on until they have so many bytes.
    fn join(&mut self, first: usize, wanted: u32) -> Result<(), Errno> {
        let mut len = 0;
        let rest = self.pieces[first..].iter().position(|piece| {
            len += piece.len;
            wanted <= len
        });
        let last = first + rest.ok_or(Errno::EINVAL)?;
        self.pieces.splice(first..=last, [Piece { len, shared: false }]);
        Ok(())
    }

    /// Puts `len` zeros in at `start`.
    pub(crate) fn push(&mut self, start: u32, len: u32) -> Result<(), Errno> {
        if len == 0 {
            return Ok(());
        }
        let total = self.len();
        let (at, off) = match self.piece_at(start) {
            Some(found) => found,
            // At the end: behind the last piece.
            None if start == total => {
                let last = self.pieces.len().checked_sub(1).ok_or(Errno::EINVAL)?;
                (last, total - self.pieces[last].len)
            }
            None => return Err(Errno::EINVAL),
        };
        if u64::from(total) + u64::from(len) > u64::from(self.region.capacity()) {
            return Err(Errno::ENOMEM);
        }
        self.push_piece(at, start - off, len);
        let mut rest = vec![0; (total - start) as usize];
        self.region.set_bounds(0, total + len);
        self.region.read(start, &mut rest);
        self.region.fill(start, len, 0);
        self.region.write(start + len, &rest);
        self.show_first();
        Ok(())
    }

    /// A new piece inside or before a piece, or a longer one if there is no room for more pieces.
    fn push_piece(&mut self, at: usize, front: u32, len: u32) {
        let space = PIECES_MAX.saturating_sub(self.pieces.len());
        let new = Piece { len, shared: false };
        let old = self.pieces[at];
        if space == 0 || (space == 1 && front != 0) {
            self.pieces[at] = Piece { len: old.len + len, shared: false };
        } else if front == 0 {
            self.pieces.insert(at, new);
        } else {
            let parts = [Piece { len: front, ..old }, new, Piece { len: old.len - front, ..old }];
            let parts = parts.into_iter().filter(|piece| piece.len > 0);
            self.pieces.splice(at..=at, parts);
        }
    }

    /// Takes `len` bytes out at `start`.
    pub(crate) fn pop(&mut self, start: u32, len: u32) -> Result<(), Errno> {
        if len == 0 {
            return Ok(());
        }
        let total = self.len();
        let (at, off) = self.piece_at(start).ok_or(Errno::EINVAL)?;
        let end = start.checked_add(len).filter(|end| *end <= total).ok_or(Errno::EINVAL)?;
        self.pop_pieces(at, start - off, len);
        let mut rest = vec![0; (total - end) as usize];
        self.region.set_bounds(0, total);
        self.region.read(end, &mut rest);
        self.region.write(start, &rest);
        self.show_first();
        Ok(())
    }

    fn pop_pieces(&mut self, mut at: usize, front: u32, mut len: u32) {
        if front != 0 {
            let old = self.pieces[at];
            let back = old.len.saturating_sub(front + len);
            if back > 0 && self.pieces.len() < PIECES_MAX {
                self.pieces.splice(at..=at, [Piece { len: front, ..old }, Piece { len: back, ..old }]);
                return;
            }
            if back > 0 {
                self.pieces[at] = Piece { len: front + back, shared: false };
                return;
            }
            self.pieces[at].len = front;
            len -= old.len - front;
            at += 1;
        }
        while len > 0 {
            let piece = &mut self.pieces[at];
            if len < piece.len {
                piece.len -= len;
                return;
            }
            len -= piece.len;
            self.pieces.remove(at);
        }
    }

    /// The piece that has this byte, and where the piece begins.
    fn piece_at(&self, start: u32) -> Option<(usize, u32)> {
        let mut off = 0;
        for (at, piece) in self.pieces.iter().enumerate() {
            if start - off < piece.len {
                return Some((at, off));
            }
            off += piece.len;
        }
        None
    }

    /// Shows the first piece, or nothing if it is not to be seen.
    fn show_first(&self) {
        match self.pieces.first() {
            Some(piece) if !piece.shared => self.show(0, piece.len),
            _ => {
                self.region.set_bounds(0, 0);
                self.md.store(0, Size::Dw, 0);
                self.md.store(8, Size::Dw, 0);
                self.md.store(68, Size::W, self.len().into());
            }
        }
    }

    fn show(&self, start: u32, end: u32) {
        let base = self.region.base();
        self.region.set_bounds(start, end);
        self.md.store(0, Size::Dw, base + u64::from(start));
        self.md.store(8, Size::Dw, base + u64::from(end));
        self.md.store(68, Size::W, self.len().into());
    }
}
