//! `View`: how a process sees guest memory: every access checked against the exact bounds of the object it touches.

use super::{Memory, RegionInfo, RegionTable};
use core::fmt;
use mimic_abi::Size;
use std::sync::Arc;

/// How far from an object an address may be and still be named after it, in bytes.
const NEAR: u64 = 1 << 12;

/// A snapshot of the region table, with the accesses that it allows.
pub struct View {
    memory: Arc<Memory>,
    table: Arc<RegionTable>,
    version: u64,
}

/// An access that no object allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessError {
    /// The address.
    pub addr: u64,
    /// Bytes asked for.
    pub len: u64,
    /// Whether it was to be written.
    pub write: bool,
    /// What was there, or near.
    pub place: Option<Place>,
}

/// Where an address lies, in terms of a named object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The region's name.
    pub name: Arc<str>,
    /// Offset of the address in the object; may be negative or past its end.
    pub off: i64,
    /// The object's length, in bytes.
    pub len: u32,
    /// The address lies in the object, and the whole access fits.
    pub inside: bool,
    /// The byte (relative to the object) that was read before it was ever written, when that is the reason.
    pub unwritten: Option<u32>,
}

/// Bytes that may be accessed without another look: part of one object. Only ever made by a view of the same memory.
///
/// Compiled code reads the fields.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Window {
    pub(crate) start: u64,
    /// For accesses of 1, 2, 4 and 8 bytes ([`size_index`]): at how many offsets from `start` on a read may begin.
    pub(crate) reads: [u64; 4],
    /// The same for writes.
    pub(crate) writes: [u64; 4],
}

/// A size's place in a window: the power of 2 that it is.
#[inline(always)]
pub(crate) fn size_index(size: Size) -> usize {
    match size {
        Size::B => 0,
        Size::H => 1,
        Size::W => 2,
        Size::Dw => 3,
    }
}

impl Window {
    fn new(start: u64, len: u32, writable: bool) -> Window {
        let starts = [1, 2, 4, 8].map(|size| (u64::from(len) + 1).saturating_sub(size));
        Window { start, reads: starts, writes: if writable { starts } else { [0; 4] } }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.reads[0] == 0
    }

    #[inline(always)]
    pub(crate) fn reads(&self, addr: u64, size: Size) -> bool {
        addr.wrapping_sub(self.start) < self.reads[size_index(size)]
    }

    #[inline(always)]
    pub(crate) fn writes(&self, addr: u64, size: Size) -> bool {
        addr.wrapping_sub(self.start) < self.writes[size_index(size)]
    }

    #[inline(always)]
    pub(crate) fn reads_bytes(&self, addr: u64, len: u64) -> bool {
        let off = addr.wrapping_sub(self.start);
        off < self.reads[0] && len <= self.reads[0] - off
    }

    #[inline(always)]
    pub(crate) fn writes_bytes(&self, addr: u64, len: u64) -> bool {
        let off = addr.wrapping_sub(self.start);
        off < self.writes[0] && len <= self.writes[0] - off
    }
}

/// Objects that were looked up of late. A register that changes between a few of them finds its window here, without a search.
#[derive(Clone, Copy, Default)]
pub(crate) struct Recent {
    windows: [Window; Recent::LEN],
    /// Windows that were noted since all were forgotten; the next takes the place of the oldest.
    noted: usize,
}

impl Recent {
    const LEN: usize = 4;

    #[inline]
    pub(crate) fn find(&self, allows: impl Fn(&Window) -> bool) -> Option<&Window> {
        self.windows[..self.noted.min(Recent::LEN)].iter().find(|window| allows(window))
    }

    #[inline]
    pub(crate) fn note(&mut self, window: Window) {
        self.windows[self.noted % Recent::LEN] = window;
        self.noted += 1;
    }

    #[inline]
    pub(crate) fn forget(&mut self) {
        self.noted = 0;
    }
}

impl View {
    /// The memory as it is now.
    pub fn new(memory: Arc<Memory>) -> View {
        let (version, table) = memory.snapshot();
        View { memory, table, version }
    }

    /// The memory behind it.
    #[inline(always)]
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Catches up with regions made or dropped since. True if there were any.
    #[inline]
    pub fn refresh(&mut self) -> bool {
        let stale = self.version != self.memory.version();
        if stale {
            self.take_snapshot();
        }
        stale
    }

    #[cold]
    #[inline(never)]
    fn take_snapshot(&mut self) {
        (self.version, self.table) = self.memory.snapshot();
    }

    /// Reads a number in guest byte order.
    pub fn load(&self, addr: u64, size: Size) -> Result<u64, AccessError> {
        let addr = self.check(addr, size.bytes() as u64, false)?;
        Ok(self.memory.load_at(addr, size))
    }

    /// Writes a number in guest byte order.
    pub fn store(&self, addr: u64, size: Size, value: u64) -> Result<(), AccessError> {
        let len = size.bytes() as u64;
        let Some((region, off)) = self.find(addr, len, true) else {
            return Err(self.error(addr, len, true));
        };
        region.set_written(off, len as u32, true);
        if let Some(value) = region.kept(off, value) {
            self.memory.store_at(addr as u32, size, value);
        }
        Ok(())
    }

    /// Copies guest bytes out.
    pub fn read(&self, addr: u64, to: &mut [u8]) -> Result<(), AccessError> {
        if !to.is_empty() {
            let addr = self.check(addr, to.len() as u64, false)?;
            self.memory.copy_out(addr, to);
        }
        Ok(())
    }

    /// Copies bytes to guest memory.
    pub fn write(&self, addr: u64, from: &[u8]) -> Result<(), AccessError> {
        if !from.is_empty() {
            let addr = self.check(addr, from.len() as u64, true)?;
            self.memory.copy_in(addr, from);
        }
        Ok(())
    }

    /// Copies guest bytes into a new vector. The check comes first, so that `len` cannot make it allocate more than guest memory holds.
    pub fn read_vec(&self, addr: u64, len: u64) -> Result<Vec<u8>, AccessError> {
        if len == 0 {
            return Ok(Vec::new());
        }
        let addr = self.check(addr, len, false)?;
        let mut bytes = vec![0; len as usize];
        self.memory.copy_out(addr, &mut bytes);
        Ok(bytes)
    }

    /// Reads a string of at most `max` bytes that ends with NUL, without the NUL. `Ok(None)` if there is none within `max` bytes or
    /// before the object's end.
    pub fn read_cstr(&self, addr: u64, max: u32) -> Result<Option<Vec<u8>>, AccessError> {
        let mut bytes = Vec::new();
        for at in 0..u64::from(max) {
            match self.load(addr.wrapping_add(at), Size::B) {
                Ok(0) => return Ok(Some(bytes)),
                Ok(byte) => bytes.push(byte as u8),
                Err(error) if at == 0 => return Err(error),
                Err(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Whether all of the bytes may be accessed that way.
    pub fn allows(&self, addr: u64, len: u64, write: bool) -> bool {
        self.find(addr, len, write).is_some()
    }

    /// The place of an address in terms of the named object in or near which it lies.
    pub fn place(&self, addr: u64) -> Option<Place> {
        let (before, after) = self.table.around(addr);
        let inside = before.filter(|region| addr - u64::from(region.base) < u64::from(region.capacity));
        let past = before.map(|region| {
            (
                addr - u64::from(region.base) - u64::from(region.capacity).min(addr - u64::from(region.base)),
                region,
            )
        });
        let short = after.map(|region| (u64::from(region.base) - addr, region));
        let near =
            [past, short].into_iter().flatten().filter(|(far, _)| *far < NEAR).min_by_key(|(far, _)| *far);
        let region = inside.or(near.map(|(_, region)| region))?;
        let off = addr as i64 - i64::from(region.base);
        let object = region.nearest_object(off);
        let off = off - i64::from(object.off);
        let inside = (0..i64::from(object.len)).contains(&off);
        Some(Place { name: region.name.clone(), off, len: object.len, inside, unwritten: None })
    }

    /// Checks an access; answers the address as an offset in the cage.
    #[inline]
    pub(crate) fn check(&self, addr: u64, len: u64, write: bool) -> Result<u32, AccessError> {
        let Some((region, off)) = self.find(addr, len, write) else {
            return Err(self.error(addr, len, write));
        };
        if write {
            region.set_written(off, len as u32, true);
        } else if let Some(at) = region.first_unwritten(off, len as u32) {
            let mut error = self.error(addr, len, write);
            if let Some(place) = &mut error.place {
                place.unwritten = Some((i64::from(at) - i64::from(off) + place.off) as u32);
            }
            return Err(error);
        }
        Ok(addr as u32)
    }

    /// The largest window around an access that is allowed: the object it lies in. Empty for objects whose rights depend on more than bounds.
    #[inline]
    pub(crate) fn window(&self, addr: u64) -> Window {
        let window = || {
            let region = self.table.at_or_before(addr).filter(|region| region.cacheable())?;
            let object = region.object_at(u32::try_from(addr - u64::from(region.base)).ok()?)?;
            let start = u64::from(region.base) + u64::from(object.off);
            Some(Window::new(start, object.len, object.access == super::Access::ReadWrite))
        };
        window().unwrap_or_default()
    }

    /// The context around an address, if one is there whose fields alone decide on an access.
    #[cold]
    pub(crate) fn fields_at(&self, addr: u64) -> Option<Arc<RegionInfo>> {
        self.table.at_or_before(addr).filter(|region| region.has_fields()).cloned()
    }

    fn find(&self, addr: u64, len: u64, write: bool) -> Option<(&Arc<RegionInfo>, u32)> {
        let region = self.table.at_or_before(addr)?;
        let off = u32::try_from(addr - u64::from(region.base)).ok()?;
        region.allows(off, u32::try_from(len).ok()?, write).then_some((region, off))
    }

    /// The context with fields that begins here: its address alone. Or else all addresses of a region without fields that this one is in;
    /// or else this one.
    pub(crate) fn context_at(&self, addr: u64) -> (core::ops::Range<u64>, Option<mimic_abi::CtxLayout>) {
        let inside = |region: &&Arc<RegionInfo>| addr - u64::from(region.base) < u64::from(region.capacity);
        let alone = addr..addr.saturating_add(1);
        match self.table.at_or_before(addr).filter(inside) {
            Some(region) if region.fields().is_some() => {
                (alone, region.fields().filter(|_| addr == u64::from(region.base)))
            }
            Some(region) => {
                let start = u64::from(region.base);
                (start..start + u64::from(region.capacity), None)
            }
            None => (alone, None),
        }
    }

    /// Which state of the table this is.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// What is wrong with an access.
    pub(crate) fn error(&self, addr: u64, len: u64, write: bool) -> AccessError {
        AccessError { addr, len, write, place: self.place(addr) }
    }
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.write { "write" } else { "read" };
        let bytes = if self.len == 1 { "byte" } else { "bytes" };
        write!(f, "{verb} of {} {bytes} at ", self.len)?;
        let Some(place) = &self.place else {
            return match self.addr {
                0 => f.write_str("NULL"),
                addr => write!(f, "{addr:#x}: no object is there"),
            };
        };
        let (name, end) = (&place.name, i64::from(place.len));
        write!(f, "{name}{:+}", place.off)?;
        if let Some(at) = place.unwritten {
            write!(f, ": byte {at} was never written")
        } else if place.off < 0 {
            write!(f, ": the {name} begins at 0")
        } else if place.off + self.len as i64 > end {
            write!(f, ": the {name} ends at {end}")
        } else if self.write {
            write!(f, ": the {name} cannot be written there")
        } else {
            write!(f, ": the {name} cannot be read there in this way")
        }
    }
}

impl std::error::Error for AccessError {}
