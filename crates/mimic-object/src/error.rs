//! What is wrong with an object, all of it at once, each with its place.

use std::fmt;

use crate::limits::{MAX_ERRORS, MAX_WARNINGS};

/// One thing that is wrong (or, as a warning, odd) in an object, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// The section, where one is concerned.
    pub section: Option<String>,
    /// The function, map or variable, where one is concerned.
    pub symbol: Option<String>,
    /// Offset in bytes from the start of the section.
    pub off: Option<u64>,
    /// What was found, what was expected, what to do.
    pub message: String,
}

/// Everything that was found wrong; never empty when it is returned as an error.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LoadErrors {
    errors: Vec<LoadError>,
    more: usize,
}

impl LoadError {
    /// An error about the object as a whole.
    pub fn new(message: impl Into<String>) -> LoadError {
        LoadError { section: None, symbol: None, off: None, message: message.into() }
    }

    /// Sets the section.
    pub fn in_section(mut self, name: &str) -> LoadError {
        self.section = Some(name.to_owned());
        self
    }

    /// Sets the function, map or variable; the empty name is none.
    pub fn at_symbol(mut self, name: &str) -> LoadError {
        self.symbol = (!name.is_empty()).then(|| name.to_owned());
        self
    }

    /// Sets the offset in the section, in bytes.
    pub fn at(mut self, off: u64) -> LoadError {
        self.off = Some(off);
        self
    }
}

impl LoadErrors {
    /// The errors in the order of their finding, at most [`MAX_ERRORS`] of them.
    pub fn iter(&self) -> std::slice::Iter<'_, LoadError> {
        self.errors.iter()
    }

    /// How many were found, those beyond [`MAX_ERRORS`] included.
    pub fn len(&self) -> usize {
        self.errors.len() + self.more
    }

    /// Whether none was found.
    pub fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    pub(crate) fn push(&mut self, error: LoadError) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(error);
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    /// `value`, unless something was found.
    pub(crate) fn or<T>(self, value: T) -> Result<T, LoadErrors> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

/// Adds a warning, unless there are [`MAX_WARNINGS`] already.
pub(crate) fn warn(warnings: &mut Vec<LoadError>, warning: LoadError) {
    if warnings.len() < MAX_WARNINGS {
        warnings.push(warning);
    }
}

impl From<LoadError> for LoadErrors {
    fn from(error: LoadError) -> LoadErrors {
        LoadErrors { errors: vec![error], more: 0 }
    }
}

impl<'a> IntoIterator for &'a LoadErrors {
    type Item = &'a LoadError;
    type IntoIter = std::slice::Iter<'a, LoadError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for LoadError {
    /// `section 'xdp', 'main'+0x10: message`, as much of the place as is known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sep = "";
        if let Some(section) = &self.section {
            write!(f, "section '{section}'")?;
            sep = ", ";
        }
        if let Some(symbol) = &self.symbol {
            write!(f, "{sep}'{symbol}'")?;
            sep = " ";
        }
        if let Some(off) = self.off {
            let sep = if sep == ", " { " " } else { sep };
            write!(f, "{sep}at offset {off:#x}")?;
        }
        if self.section.is_some() || self.symbol.is_some() || self.off.is_some() {
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for LoadError {}

impl fmt::Display for LoadErrors {
    /// One per line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            write!(f, "{newline}{error}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\n… and {more} more"),
        }
    }
}

impl std::error::Error for LoadErrors {}
