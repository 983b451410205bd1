//! From JSON, and from what people type, to the bytes of a BTF type: the way back from a dump.
//!
//! Besides JSON's own shapes these are taken: numbers as text (`"0x10"`), names of enumeration constants, IPv4 and IPv6 addresses for
//! what has 4 or 16 bytes, prefixes (`"10.0.0.0/8"`) for keys of LPM tries, and bytes as `"hex:0a000001"` or `{"hex": "0a000001"}` for
//! anything.

use crate::dump::unhex;
use mimic_abi::ByteOrder;
use mimic_abi::btf::{Btf, Kind, Member, TypeId};
use serde_json::Value;
use std::net::{Ipv4Addr, Ipv6Addr};

/// How deep types nest at most.
const DEPTH_MAX: usize = 32;

/// What bytes are made for.
#[derive(Clone, Copy)]
pub(crate) struct Shape<'a> {
    /// The type, if it is known.
    pub(crate) btf: Option<(&'a Btf, TypeId)>,
    /// Bytes.
    pub(crate) len: usize,
    pub(crate) order: ByteOrder,
    /// The key of an LPM trie.
    pub(crate) prefix: bool,
}

/// The bytes of a value. The error says where in the value what is wrong.
pub(crate) fn encode(shape: &Shape<'_>, value: &Value) -> Result<Vec<u8>, String> {
    let mut to = vec![0; shape.len];
    let special = special(shape, value)?;
    match (special, shape.btf) {
        (Some(bytes), _) => to.copy_from_slice(&bytes),
        (None, Some((btf, ty))) => Encoder { btf, order: shape.order }.put(ty, value, &mut to, "", 0)?,
        (None, None) => number(value, &mut to, shape.order, "")?,
    }
    Ok(to)
}

/// The value that a text stands for: JSON if it looks like it, otherwise text that [`encode`] reads.
pub(crate) fn from_text(text: &str) -> Result<Value, String> {
    let text = text.trim();
    if text.starts_with(['{', '[', '"']) {
        return serde_json::from_str(text).map_err(|error| format!("{text}: {error}"));
    }
    Ok(Value::String(text.into()))
}

/// Bytes as such, and prefixes.
fn special(shape: &Shape<'_>, value: &Value) -> Result<Option<Vec<u8>>, String> {
    let hex = match value {
        Value::String(text) => text.strip_prefix("hex:"),
        Value::Object(object) if object.len() == 1 => object.get("hex").and_then(Value::as_str),
        _ => None,
    };
    if let Some(hex) = hex {
        let bytes = unhex(hex)?;
        if bytes.len() != shape.len {
            return Err(format!("{} bytes; expected {}", bytes.len(), shape.len));
        }
        return Ok(Some(bytes));
    }
    let Some(text) = value.as_str().filter(|_| shape.prefix) else { return Ok(None) };
    let Some((addr, len)) = text.split_once('/') else {
        return Err(format!("{text:?}: expected a prefix as in 10.0.0.0/8, or hex:"));
    };
    let len: u32 = len.parse().map_err(|_| format!("{text:?}: {len:?} is no prefix length"))?;
    let mut bytes = match shape.order {
        ByteOrder::Little => len.to_le_bytes(),
        ByteOrder::Big => len.to_be_bytes(),
    }
    .to_vec();
    let addr = address(addr, shape.len.saturating_sub(4)).ok_or_else(|| {
        format!("{text:?}: {addr:?} is no address of {} bytes", shape.len.saturating_sub(4))
    })?;
    bytes.extend(addr);
    Ok(Some(bytes))
}

/// The bytes of an address in network order, if it has so many.
fn address(text: &str, len: usize) -> Option<Vec<u8>> {
    match len {
        4 => text.parse::<Ipv4Addr>().ok().map(|addr| addr.octets().to_vec()),
        16 => match text.parse::<Ipv4Addr>() {
            Ok(addr) => Some(addr.to_ipv6_mapped().octets().to_vec()),
            Err(_) => text.parse::<Ipv6Addr>().ok().map(|addr| addr.octets().to_vec()),
        },
        6 => {
            let bytes =
                text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect::<Option<Vec<u8>>>()?;
            Some(bytes).filter(|bytes| bytes.len() == 6)
        }
        _ => None,
    }
}

struct Encoder<'a> {
    btf: &'a Btf,
    order: ByteOrder,
}

impl Encoder<'_> {
    fn put(&self, ty: TypeId, value: &Value, to: &mut [u8], path: &str, depth: usize) -> Result<(), String> {
        let wrong = |expected: &str| Err(format!("{}: {expected}, not {value}", place(path)));
        if depth > DEPTH_MAX {
            return wrong(&format!("types nest at most {DEPTH_MAX} deep"));
        }
        let Some(ty) = self.btf.resolve(ty) else { return wrong("the type is not in the BTF") };
        if let Some(text) = value.as_str() {
            if let Some(hex) = text.strip_prefix("hex:") {
                return put_bytes(
                    &unhex(hex).map_err(|error| format!("{}: {error}", place(path)))?,
                    to,
                    path,
                );
            }
            let is_text = matches!(ty.kind, Kind::Array(array) if self.is_char(array.elem));
            if let Some(bytes) = address(text, to.len()).filter(|_| !is_text) {
                to.copy_from_slice(&bytes);
                return Ok(());
            }
        }
        match ty.kind {
            Kind::Int(_) | Kind::Ptr(_) => number(value, to, self.order, path),
            Kind::Enum(names) | Kind::Enum64(names) => {
                match value.as_str().and_then(|name| names.value_of(name)) {
                    Some(constant) => number(&Value::from(constant as i64), to, self.order, path),
                    None => number(value, to, self.order, path),
                }
            }
            Kind::Float { size: _ } => match (value.as_f64(), to.len()) {
                (Some(float), 4) => put_number(u128::from((float as f32).to_bits()), to, self.order),
                (Some(float), 8) => put_number(u128::from(float.to_bits()), to, self.order),
                _ => wrong("expected a number"),
            },
            Kind::Array(array) => self.put_array(array.elem, value, to, path, depth),
            Kind::Struct(_) | Kind::Union(_) => self.put_members(ty.id, value, to, path, depth),
            Kind::Var(var) => self.put(var.ty, value, to, path, depth + 1),
            _ => wrong("values of this type cannot be written"),
        }
    }

    fn put_array(
        &self,
        elem: TypeId,
        value: &Value,
        to: &mut [u8],
        path: &str,
        depth: usize,
    ) -> Result<(), String> {
        let size = self.btf.size_of(elem).unwrap_or(0) as usize;
        match value {
            Value::String(text) if self.is_char(elem) || size == 1 => {
                if text.len() > to.len() {
                    return Err(format!(
                        "{}: at most {} bytes of text, not {}",
                        place(path),
                        to.len(),
                        text.len()
                    ));
                }
                to.iter_mut().zip(text.bytes()).for_each(|(to, byte)| *to = byte);
                Ok(())
            }
            Value::Array(values) if size > 0 => {
                let room = to.len() / size;
                if values.len() > room {
                    return Err(format!("{}: at most {room} elements, not {}", place(path), values.len()));
                }
                for (at, (value, to)) in values.iter().zip(to.chunks_exact_mut(size)).enumerate() {
                    self.put(elem, value, to, &format!("{path}[{at}]"), depth + 1)?;
                }
                Ok(())
            }
            other => Err(format!("{}: expected an array, not {other}", place(path))),
        }
    }

    fn put_members(
        &self,
        ty: TypeId,
        value: &Value,
        to: &mut [u8],
        path: &str,
        depth: usize,
    ) -> Result<(), String> {
        let Value::Object(members) = value else {
            return Err(format!("{}: expected an object with the members, not {value}", place(path)));
        };
        for (name, value) in members {
            let path = format!("{path}.{name}");
            let Some(member) = self.btf.member(ty, name) else {
                return Err(format!("{}: there is no such member", place(&path)));
            };
            self.put_member(&member, value, to, &path, depth)?;
        }
        Ok(())
    }

    fn put_member(
        &self,
        member: &Member<'_>,
        value: &Value,
        to: &mut [u8],
        path: &str,
        depth: usize,
    ) -> Result<(), String> {
        if let Some((off, len)) = self.btf.bitfield(member) {
            let mut bytes = [0; 16];
            number(value, &mut bytes, ByteOrder::Little, path)?;
            return put_bits(u128::from_le_bytes(bytes), off, len, to, self.order)
                .ok_or_else(|| format!("{}: {value} does not fit in {len} bits", place(path)));
        }
        let (start, size) =
            ((member.bit_off / 8) as usize, self.btf.size_of(member.ty).unwrap_or(0) as usize);
        let to = start.checked_add(size).and_then(|end| to.get_mut(start..end));
        let Some(to) = to else { return Err(format!("{}: lies outside its structure", place(path))) };
        self.put(member.ty, value, to, path, depth + 1)
    }

    fn is_char(&self, ty: TypeId) -> bool {
        self.btf.resolve(ty).is_some_and(|ty| {
            matches!(ty.kind, Kind::Int(int) if int.size == 1 && (ty.name() == "char" || int.encoding.is_char()))
        })
    }
}

fn place(path: &str) -> &str {
    match path.strip_prefix('.').unwrap_or(path) {
        "" => "the value",
        path => path,
    }
}

fn put_bytes(bytes: &[u8], to: &mut [u8], path: &str) -> Result<(), String> {
    if bytes.len() != to.len() {
        return Err(format!("{}: {} bytes; expected {}", place(path), bytes.len(), to.len()));
    }
    to.copy_from_slice(bytes);
    Ok(())
}

/// Writes a number: JSON's, or text in decimal or hexadecimal.
fn number(value: &Value, to: &mut [u8], order: ByteOrder, path: &str) -> Result<(), String> {
    let wrong = || format!("{}: expected a number of {} bytes, not {value}", place(path), to.len());
    let parse = |text: &str| -> Option<i128> {
        let (minus, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let number = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
            Some(hex) => i128::from_str_radix(hex, 16).ok()?,
            None => digits.parse().ok()?,
        };
        Some(if minus { -number } else { number })
    };
    let number = match value {
        Value::Bool(bool) => i128::from(*bool),
        Value::Number(number) => parse(&number.to_string()).ok_or_else(wrong)?,
        Value::String(text) => parse(text.trim()).ok_or_else(wrong)?,
        _ => return Err(wrong()),
    };
    let bits = to.len() as u32 * 8;
    let fits = match bits {
        0..128 => number >= -(1i128 << bits.saturating_sub(1)) && number < 1i128 << bits,
        _ => true,
    };
    if to.len() > 16 || !fits || bits == 0 {
        return Err(wrong());
    }
    put_number(number as u128, to, order)
}

fn put_number(number: u128, to: &mut [u8], order: ByteOrder) -> Result<(), String> {
    let bytes = number.to_le_bytes();
    match order {
        ByteOrder::Little => to.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte),
        ByteOrder::Big => to.iter_mut().rev().zip(bytes).for_each(|(to, byte)| *to = byte),
    }
    Ok(())
}

/// Writes a bit field, counted from the lowest bit on little-endian machines and from the highest on big-endian ones.
fn put_bits(number: u128, off: u32, len: u32, to: &mut [u8], order: ByteOrder) -> Option<()> {
    let signed = number as i128;
    let fits = len >= 127 || (signed < 1i128 << len && signed >= -(1i128 << len.saturating_sub(1)));
    if len == 0 || len > 128 || !fits {
        return None;
    }
    for n in 0..len {
        let at = off.checked_add(n)?;
        let (bit, shift) = match order {
            ByteOrder::Little => (number >> n & 1, at % 8),
            ByteOrder::Big => (number >> (len - 1 - n) & 1, 7 - at % 8),
        };
        let byte = to.get_mut((at / 8) as usize)?;
        *byte = *byte & !(1 << shift) | (bit as u8) << shift;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mimic_abi::btf::{BtfBuilder, Field, IntEncoding};
    use serde_json::json;

    fn shape(btf: Option<(&Btf, TypeId)>, len: usize) -> Shape<'_> {
        Shape { btf, len, order: ByteOrder::Little, prefix: false }
    }

    #[test]
    fn what_a_dump_writes_is_read_again() {
        let mut builder = BtfBuilder::new();
        let int = builder.int("int", 4, IntEncoding::SIGNED);
        let byte = builder.int("char", 1, IntEncoding::SIGNED);
        let index = builder.int("long", 8, IntEncoding::NONE);
        let name = builder.array(byte, index, 8);
        let color = builder.enumeration("color", 4, false, [("RED", 1), ("BLUE", 7)]);
        let fields = [
            Field::new("n", int, 0),
            Field::new("name", name, 32),
            Field::new("color", color, 96),
            Field::bits("low", int, 128, 3),
            Field::bits("high", int, 131, 29),
        ];
        let ty = builder.structure("thing", 20, fields);
        let btf = Btf::parse(builder.to_bytes(ByteOrder::Little).expect("it is small")).expect("it is BTF");
        let value = json!({ "n": -2, "name": "abc", "color": "BLUE", "low": 3, "high": 5 });
        let bytes = encode(&shape(Some((&btf, ty)), 20), &value).expect("it fits");
        assert_eq!(&bytes[..7], [0xfe, 0xff, 0xff, 0xff, b'a', b'b', b'c']);
        let text = btf.value(ty, &bytes).json().to_string();
        assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(value));
        for (bad, place) in [
            (json!({ "n": "x" }), "n: "),
            (json!({ "m": 1 }), "m: there is no such member"),
            (json!({ "low": 9 }), "low: 9 does not fit"),
            (json!({ "name": "123456789" }), "name: at most 8"),
            (json!(1), "the value: expected an object"),
        ] {
            let error = encode(&shape(Some((&btf, ty)), 20), &bad).expect_err("it is bad");
            assert!(error.starts_with(place), "{error}");
        }
    }

    #[test]
    fn addresses_prefixes_and_numbers() {
        let lpm = Shape { prefix: true, ..shape(None, 8) };
        assert_eq!(encode(&lpm, &json!("10.1.0.0/16")), Ok(vec![16, 0, 0, 0, 10, 1, 0, 0]));
        assert!(encode(&lpm, &json!("2001:db8::/32")).is_err());
        assert_eq!(encode(&shape(None, 2), &json!("0xff01")), Ok(vec![1, 0xff]));
        assert_eq!(encode(&shape(None, 3), &json!("hex:010203")), Ok(vec![1, 2, 3]));
        assert!(encode(&shape(None, 1), &json!(256)).is_err());
        assert!(encode(&shape(None, 40), &json!(1)).is_err());
        let big = Shape { order: ByteOrder::Big, ..shape(None, 2) };
        assert_eq!(encode(&big, &json!(1)), Ok(vec![0, 1]));
    }
}
