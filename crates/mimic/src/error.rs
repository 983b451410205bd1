//! `Error`: whatever went wrong, with what was being done. One word wide.

use std::fmt;

/// An error of the library: what was being done, and why it failed. Boxed, so that results stay small.
pub struct Error(Box<Inner>);

struct Inner {
    context: Vec<String>,
    kind: ErrorKind,
}

/// Why something failed.
#[derive(Debug)]
pub enum ErrorKind {
    /// The object file is bad, or a program of it cannot be linked.
    Object(mimic_object::LoadErrors),
    /// The VM refused a map or program.
    Load(mimic_vm::LoadError),
    /// No guest memory.
    Memory(mimic_vm::MemoryError),
    /// The input was refused, or the program was stopped.
    Run(mimic_vm::RunError),
    /// A map operation was answered with an error.
    Map(mimic_abi::Errno),
    /// A capture is bad.
    Pcap(crate::pcap::PcapError),
    /// The host refused.
    Io(std::io::Error),
    /// Something that was asked for is not there, or is not of the kind that it was taken for.
    Usage(String),
}

impl Error {
    /// Something that was asked for is not there, or is not what it was taken for.
    pub fn usage(what: impl Into<String>) -> Error {
        ErrorKind::Usage(what.into()).into()
    }

    /// The same error, with what was being done.
    pub fn context(mut self, doing: impl Into<String>) -> Error {
        self.0.context.push(doing.into());
        self
    }

    /// Why.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// What the emulated kernel answered, if a map operation was refused.
    pub fn errno(&self) -> Option<mimic_abi::Errno> {
        match &self.0.kind {
            ErrorKind::Map(errno) => Some(*errno),
            _ => None,
        }
    }

    /// The fault, if a program was stopped.
    pub fn fault(&self) -> Option<&mimic_vm::Fault> {
        match &self.0.kind {
            ErrorKind::Run(mimic_vm::RunError::Fault(fault)) => Some(fault),
            _ => None,
        }
    }
}

/// Adds what was being done to an error.
pub(crate) trait ResultExt<T> {
    /// The same result, with what was being done if it is an error.
    fn context(self, doing: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E: Into<Error>> ResultExt<T> for Result<T, E> {
    fn context(self, doing: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|error| error.into().context(doing()))
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Error {
        Error(Box::new(Inner { context: Vec::new(), kind }))
    }
}

macro_rules! from {
    ($($variant:ident($ty:ty),)*) => {
        $(impl From<$ty> for Error {
            fn from(error: $ty) -> Error {
                ErrorKind::$variant(error).into()
            }
        })*
    };
}

from! {
    Object(mimic_object::LoadErrors),
    Load(mimic_vm::LoadError),
    Memory(mimic_vm::MemoryError),
    Run(mimic_vm::RunError),
    Map(mimic_abi::Errno),
    Pcap(crate::pcap::PcapError),
    Io(std::io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for doing in self.0.context.iter().rev() {
            write!(f, "{doing}: ")?;
        }
        match &self.0.kind {
            ErrorKind::Object(error) => error.fmt(f),
            ErrorKind::Load(error) => error.fmt(f),
            ErrorKind::Memory(error) => error.fmt(f),
            ErrorKind::Run(error) => error.fmt(f),
            ErrorKind::Map(errno) => errno.fmt(f),
            ErrorKind::Pcap(error) => error.fmt(f),
            ErrorKind::Io(error) => error.fmt(f),
            ErrorKind::Usage(what) => f.write_str(what),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}
