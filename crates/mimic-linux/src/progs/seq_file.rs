//! `SeqFile`: the buffer that iterators print into. Documentation/filesystems/seq_file.rst.

/// Text of one read of an iterator's file. What does not fit is dropped, and makes the file overflow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeqFile {
    text: Vec<u8>,
    overflowed: bool,
}

impl SeqFile {
    /// Bytes that iterators have for one read (8 pages).
    pub const SIZE: usize = 8 * 4096;

    /// What was printed.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Something did not fit. Nothing is added any more.
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Bytes that there is room for.
    pub fn room(&self) -> usize {
        if self.overflowed { 0 } else { SeqFile::SIZE - self.text.len() }
    }

    /// Adds bytes if all of them fit (seq_write). False if not.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() >= self.room() {
            self.overflowed = true;
            return false;
        }
        self.text.extend_from_slice(bytes);
        true
    }

    /// Says that more was printed than there is room for.
    pub fn overflow(&mut self) {
        self.overflowed = true;
    }

    /// Drops what was printed after the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.text.truncate(len);
        self.overflowed = false;
    }

    /// Takes the text.
    pub fn take(&mut self) -> Vec<u8> {
        self.overflowed = false;
        core::mem::take(&mut self.text)
    }
}
