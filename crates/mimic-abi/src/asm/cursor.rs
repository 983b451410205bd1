//! Walks over the tokens of a line and reads the pieces that all statements are made of.

use super::Fault;
use super::token::{Kind, Token, shortened};
use crate::operand::{Operand, Reg, Size, Width};

pub(super) struct Cursor<'t, 'a> {
    tokens: &'t [Token<'a>],
    /// Index of the next token.
    next: usize,
    /// Length of the line in bytes, where the end is reported.
    end: usize,
}

/// A number with its sign, before anybody says how many bits it has.
#[derive(Clone, Copy)]
pub(super) struct Number {
    pub(super) at: usize,
    pub(super) value: i128,
}

impl<'t, 'a> Cursor<'t, 'a> {
    pub(super) fn new(tokens: &'t [Token<'a>], end: usize) -> Cursor<'t, 'a> {
        Cursor { tokens, next: 0, end }
    }

    pub(super) fn at_end(&self) -> bool {
        self.next >= self.tokens.len()
    }

    /// Where the next token starts, in bytes.
    pub(super) fn offset(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |token| token.at)
    }

    pub(super) fn peek(&self) -> Option<Kind<'a>> {
        self.peek_at(0)
    }

    pub(super) fn peek_at(&self, ahead: usize) -> Option<Kind<'a>> {
        self.tokens.get(self.next + ahead).map(|token| token.kind)
    }

    pub(super) fn advance(&mut self) {
        self.next += 1;
    }

    /// Takes the symbol or word if it is next.
    pub(super) fn take(&mut self, text: &str) -> bool {
        let is_next = match self.peek() {
            Some(Kind::Symbol(symbol)) => symbol == text,
            Some(Kind::Word(word)) => word == text,
            Some(Kind::Number(..)) | None => false,
        };
        self.next += usize::from(is_next);
        is_next
    }

    pub(super) fn want(&mut self, text: &str) -> Result<(), Fault> {
        if self.take(text) { Ok(()) } else { Err(self.expected(&format!("`{text}`"))) }
    }

    pub(super) fn take_word(&mut self) -> Option<&'a str> {
        match self.peek() {
            Some(Kind::Word(word)) => {
                self.advance();
                Some(word)
            }
            Some(Kind::Symbol(_) | Kind::Number(..)) | None => None,
        }
    }

    pub(super) fn take_symbol(&mut self) -> Option<&'static str> {
        match self.peek() {
            Some(Kind::Symbol(symbol)) => {
                self.advance();
                Some(symbol)
            }
            Some(Kind::Word(_) | Kind::Number(..)) | None => None,
        }
    }

    /// The statement has to end here.
    pub(super) fn want_end(&mut self) -> Result<(), Fault> {
        if self.at_end() || self.take(";") { Ok(()) } else { Err(self.expected("the end of the statement")) }
    }

    pub(super) fn expected(&self, what: &str) -> Fault {
        let found = match self.peek() {
            None => "the end of the line".to_owned(),
            Some(Kind::Word(text) | Kind::Number(_, text)) => format!("`{}`", shortened(text)),
            Some(Kind::Symbol(text)) => format!("`{text}`"),
        };
        Fault { at: self.offset(), message: format!("expected {what}, found {found}") }
    }

    /// A register and the width that its letter says, if one is next.
    pub(super) fn take_reg(&mut self) -> Option<(Width, Reg)> {
        match self.peek() {
            Some(Kind::Word(word)) => {
                let reg = register(word)?;
                self.advance();
                Some(reg)
            }
            Some(Kind::Symbol(_) | Kind::Number(..)) | None => None,
        }
    }

    pub(super) fn any_reg(&mut self) -> Result<(Width, Reg), Fault> {
        self.take_reg().ok_or_else(|| self.expected("a register (r0 to r10, w0 to w10)"))
    }

    /// A register that must be written with this width's letter.
    pub(super) fn reg(&mut self, width: Width) -> Result<Reg, Fault> {
        self.reg_of(&[width])
    }

    /// A register for a value of this size in memory: `w` or `r` up to 32 bits, `r` for 64.
    pub(super) fn value_reg(&mut self, size: Size) -> Result<Reg, Fault> {
        match size {
            Size::B | Size::H | Size::W => self.reg_of(&[Width::W32, Width::W64]),
            Size::Dw => self.reg(Width::W64),
        }
    }

    fn reg_of(&mut self, widths: &[Width]) -> Result<Reg, Fault> {
        let next = match self.peek() {
            Some(Kind::Word(word)) => register(word),
            Some(Kind::Symbol(_) | Kind::Number(..)) | None => None,
        };
        match next {
            Some((width, reg)) if widths.contains(&width) => {
                self.advance();
                Ok(reg)
            }
            Some(_) | None => Err(self.expected(match widths {
                [Width::W64] => "a 64-bit register (r0 to r10)",
                [Width::W32] => "a 32-bit register (w0 to w10)",
                _ => "a register (r0 to r10, w0 to w10)",
            })),
        }
    }

    /// A number with an optional sign, if one is next.
    pub(super) fn take_number(&mut self) -> Option<Number> {
        let at = self.offset();
        let (sign, ahead) = match self.peek()? {
            Kind::Symbol("-") => (-1, 1),
            Kind::Symbol("+") => (1, 1),
            Kind::Symbol(_) | Kind::Word(_) | Kind::Number(..) => (1, 0),
        };
        match self.peek_at(ahead)? {
            Kind::Number(magnitude, _) => {
                self.next += ahead + 1;
                Some(Number { at, value: sign * i128::from(magnitude) })
            }
            Kind::Symbol(_) | Kind::Word(_) => None,
        }
    }

    pub(super) fn number(&mut self) -> Result<Number, Fault> {
        self.take_number().ok_or_else(|| self.expected("a number"))
    }

    /// A register or a 32-bit constant.
    pub(super) fn operand(&mut self, width: Width) -> Result<Operand, Fault> {
        if let Some(number) = self.take_number() {
            return number.imm32().map(Operand::Imm);
        }
        match self.peek() {
            Some(Kind::Word(word)) if register(word).is_some() => self.reg(width).map(Operand::Reg),
            Some(_) | None => Err(self.expected("a register or a number")),
        }
    }
}

impl Number {
    /// As a 32-bit immediate; unsigned numbers of 32 bits stand for the signed ones with the same bits.
    pub(super) fn imm32(self) -> Result<i32, Fault> {
        i32::try_from(self.value)
            .or_else(|_| u32::try_from(self.value).map(|value| value as i32))
            .map_err(|_| self.too_wide("does not fit in 32 bits (`rN = NUMBER ll` loads 64)"))
    }

    /// As a 64-bit constant; negative numbers stand for the unsigned ones with the same bits.
    pub(super) fn imm64(self) -> Result<u64, Fault> {
        u64::try_from(self.value)
            .or_else(|_| i64::try_from(self.value).map(|value| value as u64))
            .map_err(|_| self.too_wide("does not fit in 64 bits"))
    }

    pub(super) fn off(self) -> Result<i16, Fault> {
        i16::try_from(self.value).map_err(|_| self.too_wide("is no offset: they go from -32768 to 32767"))
    }

    /// As an unsigned number.
    pub(super) fn unsigned<T: TryFrom<i128>>(self) -> Result<T, Fault> {
        T::try_from(self.value).map_err(|_| self.too_wide("is out of range"))
    }

    fn too_wide(self, what: &str) -> Fault {
        Fault { at: self.at, message: format!("{} {what}", self.value) }
    }
}

/// The register with this name.
pub(super) fn register(word: &str) -> Option<(Width, Reg)> {
    let (width, digits) = match word.split_at_checked(1)? {
        ("r", digits) => (Width::W64, digits),
        ("w", digits) => (Width::W32, digits),
        _ => return None,
    };
    // `r01` is a label.
    let canonical = digits == "0" || !digits.starts_with('0');
    let index = digits.parse().ok().filter(|_| canonical && !digits.starts_with('+'))?;
    Reg::new(index).map(|reg| (width, reg))
}
