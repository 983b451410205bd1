//! Shows a [`Value`] as text and as JSON.
//!
//! Text is C's notation for initialisers, with enumerations by name, `char` arrays as strings and runs of equal
//! elements once. JSON is an object for a structure, union or section, an array for an array, a string for a `char`
//! array, an enumeration's constant, a pointer (in hexadecimal) and integers of 128 bits, else a number or boolean.

use core::fmt::{self, Write};

use super::json::write_str;
use super::{Kind, MAX_DEPTH, Value};

/// From how many equal elements on text counts them instead.
const MIN_RUN: usize = 8;

/// How many values are shown however few the bytes: bounds unions of unions, and arrays of nothing.
const MIN_BUDGET: usize = 1 << 14;

/// A value as text: `{}` on one line, `{:#}` on a line for each member.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    value: Value<'a>,
    max_elems: usize,
}

/// A value as JSON on one line. What is missing is `{"missing":N}` with the number of bytes, a string of which the end
/// is missing `{"value":"…","missing":N}`.
#[derive(Clone, Copy, Debug)]
pub struct Json<'a> {
    value: Value<'a>,
}

impl<'a> Text<'a> {
    pub(super) fn new(value: Value<'a>) -> Text<'a> {
        Text { value, max_elems: usize::MAX }
    }

    /// Shows no more than so many elements of each array and says how many it left out. Runs count as one.
    pub fn max_elems(self, max_elems: usize) -> Text<'a> {
        Text { max_elems, ..self }
    }
}

impl<'a> Json<'a> {
    pub(super) fn new(value: Value<'a>) -> Json<'a> {
        Json { value }
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pretty = f.alternate();
        let mut printer = Printer::new(f, &self.value, false, pretty, self.max_elems);
        printer.value(&self.value)?;
        let extra = self.value.extra();
        if extra.is_empty() {
            return Ok(());
        }
        write!(f, " /* {} bytes more:", extra.len())?;
        extra.iter().try_for_each(|byte| write!(f, " {byte:02x}"))?;
        f.write_str(" */")
    }
}

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printer::new(f, &self.value, true, false, usize::MAX).value(&self.value)
    }
}

struct Printer<'f, 'o> {
    out: &'f mut fmt::Formatter<'o>,
    json: bool,
    pretty: bool,
    max_elems: usize,
    depth: usize,
    /// How many values may still be shown.
    budget: usize,
}

impl<'f, 'o> Printer<'f, 'o> {
    fn new(
        out: &'f mut fmt::Formatter<'o>,
        value: &Value<'_>,
        json: bool,
        pretty: bool,
        max_elems: usize,
    ) -> Printer<'f, 'o> {
        let budget = MIN_BUDGET.saturating_add(value.bytes().len().saturating_mul(8));
        Printer { out, json, pretty, max_elems, depth: 0, budget }
    }

    fn value(&mut self, value: &Value<'_>) -> fmt::Result {
        if self.budget == 0 || self.depth > MAX_DEPTH {
            return self.out.write_str(if self.json { "null" } else { "..." });
        }
        self.budget -= 1;
        let Some(ty) = value.ty() else {
            return self.opaque(value, "no such type");
        };
        let (missing, size) = (value.missing(), value.size());
        if missing > 0 && (missing == size || value.is_bitfield()) {
            return self.missing(missing);
        }
        match ty.kind {
            Kind::Struct(_) | Kind::Union(_) | Kind::Datasec(_) => {
                self.depth += 1;
                self.open('{')?;
                let empty = self.fields(value, true, 0)?;
                self.depth -= 1;
                self.close('}', empty)
            }
            Kind::Array(_) => self.array(value),
            _ if missing > 0 => self.missing(missing),
            Kind::Int(int) => self.int(value, int.encoding.is_bool(), int.size),
            Kind::Ptr(_) => self.ptr(value),
            Kind::Enum(enumeration) | Kind::Enum64(enumeration) => {
                let number = value.as_int();
                match number.and_then(|number| enumeration.name_of(number)) {
                    Some(name) if self.json => write_str(self.out, name),
                    Some(name) => self.out.write_str(name),
                    None => self.int(value, false, enumeration.size),
                }
            }
            Kind::Float { size } => self.float(value, size),
            Kind::Fwd(_) => self.opaque(value, "incomplete type"),
            Kind::Void => self.opaque(value, "void"),
            Kind::Func(_) | Kind::FuncProto(_) => self.opaque(value, "function"),
            Kind::Var(_)
            | Kind::DeclTag(_)
            | Kind::Typedef(_)
            | Kind::Volatile(_)
            | Kind::Const(_)
            | Kind::Restrict(_)
            | Kind::TypeTag(_) => self.opaque(value, "no type of values"),
        }
    }

    /// Shows the members, those of anonymous members as if they were the structure's own; whether there were none.
    fn fields(&mut self, value: &Value<'_>, mut first: bool, nested: usize) -> Result<bool, fmt::Error> {
        for (name, field) in value.fields() {
            if self.budget == 0 {
                break;
            }
            if name.is_empty() {
                let named = field.ty().is_some_and(|ty| ty.kind.composite().is_some());
                if named && nested < MAX_DEPTH {
                    self.budget -= 1;
                    first = self.fields(&field, first, nested + 1)?;
                }
                continue;
            }
            self.separate(&mut first)?;
            if self.json {
                write_str(self.out, name)?;
                self.out.write_char(':')?;
            } else {
                write!(self.out, ".{name} = ")?;
            }
            self.value(&field)?;
        }
        Ok(first)
    }

    fn array(&mut self, value: &Value<'_>) -> fmt::Result {
        if let Some(chars) = value.as_chars() {
            return self.chars(chars, value.missing());
        }
        let size = value.elem_size();
        if size == 0 && self.json {
            return self.out.write_str("[]");
        }
        self.depth += 1;
        self.open(if self.json { '[' } else { '{' })?;
        let flat = self.pretty && value.index(0).is_none_or(|elem| is_scalar(&elem));
        let pretty = self.pretty;
        self.pretty = pretty && !flat;
        let empty = self.elems(value, size)?;
        self.depth -= 1;
        self.close(if self.json { ']' } else { '}' }, empty || flat)?;
        self.pretty = pretty;
        Ok(())
    }

    fn elems(&mut self, value: &Value<'_>, size: usize) -> Result<bool, fmt::Error> {
        let (mut first, mut index, mut shown) = (true, 0usize, 0usize);
        let len = value.len();
        while let Some(elem) = value.index(index) {
            if size > 0 && elem.bytes().is_empty() {
                break;
            }
            self.separate(&mut first)?;
            if self.budget == 0 || shown >= self.max_elems {
                let left = len.saturating_sub(index);
                if self.json {
                    self.out.write_str("null")?
                } else {
                    write!(self.out, "<{left} more>")?
                }
                return Ok(false);
            }
            self.value(&elem)?;
            shown += 1;
            let run = if self.json { 1 } else { run(value.bytes(), index, size, len) };
            if run >= MIN_RUN {
                write!(self.out, " <repeats {run} times>")?;
                index = index.saturating_add(run);
            } else {
                index = index.saturating_add(1);
            }
        }
        let missing = value.missing();
        if missing >= size && missing > 0 {
            self.separate(&mut first)?;
            self.missing(missing.saturating_sub(missing % size.max(1)))?;
        }
        Ok(first)
    }

    fn int(&mut self, value: &Value<'_>, is_bool: bool, size: u32) -> fmt::Result {
        match value.as_int() {
            Some(0) if is_bool => self.out.write_str("false"),
            Some(1) if is_bool => self.out.write_str("true"),
            // The numbers of 128 bits that are unsigned came as the same bits.
            Some(number) if size > 8 && !is_signed(value) => self.quoted(format_args!("{}", number as u128)),
            Some(number) if size > 8 => self.quoted(format_args!("{number}")),
            Some(number) => write!(self.out, "{number}"),
            None => self.opaque(value, "integer"),
        }
    }

    fn ptr(&mut self, value: &Value<'_>) -> fmt::Result {
        match value.as_int() {
            Some(number) => self.quoted(format_args!("{number:#x}")),
            None => self.opaque(value, "pointer"),
        }
    }

    fn float(&mut self, value: &Value<'_>, size: u32) -> fmt::Result {
        let Some(bytes) = value.bytes().get(..size as usize) else {
            return self.opaque(value, "floating point");
        };
        let mut bytes = bytes.to_vec();
        if value.order() == crate::ByteOrder::Little {
            bytes.reverse();
        }
        let raw = bytes.iter().fold(0u128, |raw, &byte| raw << 8 | u128::from(byte));
        match size {
            2 => self.float_number(f64::from(half(raw as u16)), half(raw as u16)),
            4 => self.float_number(f64::from(f32::from_bits(raw as u32)), f32::from_bits(raw as u32)),
            8 => self.float_number(f64::from_bits(raw as u64), f64::from_bits(raw as u64)),
            _ => self.quoted(format_args!("{raw:#x}")),
        }
    }

    /// `shown` is the number in its own precision: fewer digits.
    fn float_number(&mut self, number: f64, shown: impl fmt::Debug) -> fmt::Result {
        if number.is_finite() { write!(self.out, "{shown:?}") } else { self.quoted(format_args!("{number}")) }
    }

    fn chars(&mut self, chars: &[u8], missing: usize) -> fmt::Result {
        if !self.json {
            self.out.write_char('"')?;
            for chunk in chars.utf8_chunks() {
                for char in chunk.valid().chars() {
                    match char {
                        '"' | '\\' => write!(self.out, "\\{char}")?,
                        '\n' => self.out.write_str("\\n")?,
                        '\t' => self.out.write_str("\\t")?,
                        char if char.is_control() => write!(self.out, "\\{:03o}", u32::from(char))?,
                        char => self.out.write_char(char)?,
                    }
                }
                chunk.invalid().iter().try_for_each(|byte| write!(self.out, "\\{byte:03o}"))?;
            }
            self.out.write_char('"')?;
            return if missing > 0 { write!(self.out, " <{missing} bytes missing>") } else { Ok(()) };
        }
        if missing > 0 {
            self.out.write_str("{\"value\":")?;
        }
        match core::str::from_utf8(chars) {
            Ok(text) => write_str(self.out, text)?,
            Err(_) => self.bytes(chars)?,
        }
        if missing > 0 { write!(self.out, ",\"missing\":{missing}}}") } else { Ok(()) }
    }

    /// A value that is a string in JSON.
    fn quoted(&mut self, value: fmt::Arguments<'_>) -> fmt::Result {
        if self.json { write!(self.out, "\"{value}\"") } else { self.out.write_fmt(value) }
    }

    fn missing(&mut self, missing: usize) -> fmt::Result {
        if self.json {
            write!(self.out, "{{\"missing\":{missing}}}")
        } else if missing == 1 {
            self.out.write_str("<1 byte missing>")
        } else {
            write!(self.out, "<{missing} bytes missing>")
        }
    }

    /// Bytes of which nothing is known.
    fn opaque(&mut self, value: &Value<'_>, what: &str) -> fmt::Result {
        if self.json {
            return self.bytes(value.bytes());
        }
        write!(self.out, "<{what}")?;
        if !value.bytes().is_empty() {
            self.out.write_char(':')?;
        }
        value.bytes().iter().try_for_each(|byte| write!(self.out, " {byte:02x}"))?;
        self.out.write_char('>')
    }

    fn bytes(&mut self, bytes: &[u8]) -> fmt::Result {
        self.out.write_char('[')?;
        for (index, byte) in bytes.iter().enumerate() {
            write!(self.out, "{}{byte}", if index == 0 { "" } else { "," })?;
        }
        self.out.write_char(']')
    }

    fn open(&mut self, bracket: char) -> fmt::Result {
        self.out.write_char(bracket)
    }

    fn close(&mut self, bracket: char, flat: bool) -> fmt::Result {
        if self.pretty && !flat {
            self.out.write_char(',')?;
            self.new_line()?;
        }
        self.out.write_char(bracket)
    }

    fn separate(&mut self, first: &mut bool) -> fmt::Result {
        let is_first = std::mem::replace(first, false);
        if !is_first {
            self.out.write_char(',')?;
        }
        match (self.pretty, self.json, is_first) {
            (true, ..) => self.new_line(),
            (false, false, false) => self.out.write_char(' '),
            (false, _, _) => Ok(()),
        }
    }

    fn new_line(&mut self) -> fmt::Result {
        self.out.write_char('\n')?;
        (0..self.depth).try_for_each(|_| self.out.write_str("    "))
    }
}

fn is_scalar(value: &Value<'_>) -> bool {
    let composite = |kind: Kind<'_>| kind.composite().is_some() || matches!(kind, Kind::Array(_));
    value.as_chars().is_some() || value.ty().is_none_or(|ty| !composite(ty.kind))
}

fn is_signed(value: &Value<'_>) -> bool {
    match value.ty().map(|ty| ty.kind) {
        Some(Kind::Int(int)) => int.encoding.is_signed(),
        Some(Kind::Enum(enumeration) | Kind::Enum64(enumeration)) => enumeration.signed,
        _ => false,
    }
}

/// How many elements from `index` on are equal.
fn run(bytes: &[u8], index: usize, size: usize, len: usize) -> usize {
    if size == 0 {
        return len.saturating_sub(index);
    }
    let rest = bytes.get(index.saturating_mul(size)..).unwrap_or_default();
    let first = rest.get(..size).unwrap_or(rest);
    let equal = rest.chunks_exact(size).take_while(|elem| *elem == first).count();
    equal.min(len.saturating_sub(index))
}

/// A floating point number of 16 bits.
fn half(raw: u16) -> f32 {
    let sign = if raw >> 15 == 0 { 1.0 } else { -1.0 };
    let fraction = f32::from(raw & 0x3ff);
    let scaled = |exponent: i32, fraction: f32| sign * fraction / 1024.0 * 2f32.powi(exponent);
    match i32::from(raw >> 10 & 0x1f) {
        0 => scaled(-14, fraction),
        31 if raw & 0x3ff == 0 => sign * f32::INFINITY,
        31 => f32::NAN,
        exponent => scaled(exponent - 15, 1024.0 + fraction),
    }
}
