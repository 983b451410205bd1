//! What members of World files are made of: numbers, text, bytes, addresses, lists and maps of them.

use super::Detail;
use super::table::{Defs, Json};
use crate::ctx::CtxError;
use crate::ctx::base64;
use crate::ctx::reader::{At, Bounded};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

macro_rules! ints {
    ($($ty:ident)*) => {
        $(impl Json for $ty {
            fn read(at: &At<'_>) -> Result<$ty, CtxError> {
                at.int()
            }

            fn write(&self, _: Detail) -> Value {
                (*self).into()
            }

            fn schema(_: &mut Defs) -> Value {
                // As text in the table of ranges; exact in JSON.
                let number = |text: &str| text.parse::<i128>().ok().and_then(serde_json::Number::from_i128);
                json!({ "type": "integer", "minimum": number($ty::MIN_TEXT), "maximum": number($ty::MAX_TEXT) })
            }
        })*
    };
}

ints! { u16 u32 u64 i32 }

/// A list of bytes is base64.
impl Json for u8 {
    fn read(at: &At<'_>) -> Result<u8, CtxError> {
        at.int()
    }

    fn write(&self, _: Detail) -> Value {
        (*self).into()
    }

    fn schema(_: &mut Defs) -> Value {
        json!({ "type": "integer", "minimum": 0, "maximum": 255 })
    }

    fn read_list(at: &At<'_>) -> Result<Vec<u8>, CtxError> {
        at.base64()
    }

    fn write_list(list: &[u8], _: Detail) -> Value {
        base64::encode(list).into()
    }

    fn list_schema(_: &mut Defs) -> Value {
        json!({ "type": "string", "contentEncoding": "base64" })
    }
}

impl Json for bool {
    fn read(at: &At<'_>) -> Result<bool, CtxError> {
        at.value.as_bool().ok_or_else(|| at.error("expected true or false"))
    }

    fn write(&self, _: Detail) -> Value {
        (*self).into()
    }

    fn schema(_: &mut Defs) -> Value {
        json!({ "type": "boolean" })
    }
}

/// Types whose text is read by `FromStr` and written by `Display`: the type, and an example of its text.
macro_rules! texts {
    ($($ty:ty: $example:literal,)*) => {
        $(impl Json for $ty {
            fn read(at: &At<'_>) -> Result<$ty, CtxError> {
                let text = at.text()?;
                text.parse().map_err(|_| at.error(format!("expected text as in {}, not {text:?}", $example)))
            }

            fn write(&self, _: Detail) -> Value {
                self.to_string().into()
            }

            fn schema(_: &mut Defs) -> Value {
                json!({ "type": "string", "examples": [$example] })
            }
        })*
    };
}

texts! {
    Ipv4Addr: "192.0.2.1",
    Ipv6Addr: "2001:db8::1",
    IpAddr: "192.0.2.1",
    SocketAddr: "192.0.2.1:80",
}

impl Json for String {
    fn read(at: &At<'_>) -> Result<String, CtxError> {
        Ok(at.text()?.into())
    }

    fn write(&self, _: Detail) -> Value {
        self.as_str().into()
    }

    fn schema(_: &mut Defs) -> Value {
        json!({ "type": "string" })
    }
}

impl Json for [u8; 4] {
    fn read(at: &At<'_>) -> Result<[u8; 4], CtxError> {
        Ok(Ipv4Addr::read(at)?.octets())
    }

    fn write(&self, detail: Detail) -> Value {
        Ipv4Addr::from(*self).write(detail)
    }

    fn schema(defs: &mut Defs) -> Value {
        Ipv4Addr::schema(defs)
    }
}

impl Json for [u8; 16] {
    fn read(at: &At<'_>) -> Result<[u8; 16], CtxError> {
        Ok(Ipv6Addr::read(at)?.octets())
    }

    fn write(&self, detail: Detail) -> Value {
        Ipv6Addr::from(*self).write(detail)
    }

    fn schema(defs: &mut Defs) -> Value {
        Ipv6Addr::schema(defs)
    }
}

/// A link-layer address.
impl Json for [u8; 6] {
    fn read(at: &At<'_>) -> Result<[u8; 6], CtxError> {
        let bytes = at.text()?.split(':').map(|byte| u8::from_str_radix(byte, 16).ok());
        let bytes = bytes.collect::<Option<Vec<u8>>>().and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| at.error("expected an address as in 02:00:00:00:00:01"))
    }

    fn write(&self, _: Detail) -> Value {
        self.map(|byte| format!("{byte:02x}")).join(":").into()
    }

    fn schema(_: &mut Defs) -> Value {
        json!({ "type": "string", "pattern": "^([0-9a-fA-F]{1,2}:){5}[0-9a-fA-F]{1,2}$" })
    }
}

/// A network: an address, and how many of its bits count.
impl Json for (IpAddr, u8) {
    fn read(at: &At<'_>) -> Result<(IpAddr, u8), CtxError> {
        let text = at.text()?;
        let wrong = || at.error(format!("expected a network as in 192.0.2.0/24, not {text:?}"));
        let (addr, bits) = text.split_once('/').ok_or_else(wrong)?;
        let addr: IpAddr = addr.parse().map_err(|_| wrong())?;
        let bits_max = if addr.is_ipv4() { 32 } else { 128 };
        let bits = bits.parse().ok().filter(|bits| *bits <= bits_max).ok_or_else(wrong)?;
        Ok((addr, bits))
    }

    fn write(&self, _: Detail) -> Value {
        format!("{}/{}", self.0, self.1).into()
    }

    fn schema(_: &mut Defs) -> Value {
        json!({ "type": "string", "examples": ["192.0.2.0/24", "2001:db8::/32"] })
    }
}

impl<T: Json> Json for Vec<T> {
    fn read(at: &At<'_>) -> Result<Vec<T>, CtxError> {
        T::read_list(at)
    }

    fn write(&self, detail: Detail) -> Value {
        T::write_list(self, detail)
    }

    fn schema(defs: &mut Defs) -> Value {
        T::list_schema(defs)
    }
}

/// None is null, or not there.
impl<T: Json> Json for Option<T> {
    fn read(at: &At<'_>) -> Result<Option<T>, CtxError> {
        T::read(at).map(Some)
    }

    fn write(&self, detail: Detail) -> Value {
        self.as_ref().map_or(Value::Null, |value| value.write(detail))
    }

    fn schema(defs: &mut Defs) -> Value {
        json!({ "anyOf": [T::schema(defs), { "type": "null" }] })
    }
}

impl<T: Json> Json for BTreeMap<String, T> {
    fn read(at: &At<'_>) -> Result<BTreeMap<String, T>, CtxError> {
        at.members()?.into_iter().map(|(name, at)| Ok((name.to_owned(), T::read(&at)?))).collect()
    }

    fn write(&self, detail: Detail) -> Value {
        Value::Object(self.iter().map(|(name, value)| (name.clone(), value.write(detail))).collect())
    }

    fn schema(defs: &mut Defs) -> Value {
        json!({ "type": "object", "additionalProperties": T::schema(defs) })
    }
}

/// A pair as an object with two keys, both required.
macro_rules! pairs {
    ($($first_ty:ty, $second_ty:ty: $first:literal $second:literal,)*) => {
        $(impl Json for ($first_ty, $second_ty) {
            fn read(at: &At<'_>) -> Result<Self, CtxError> {
                at.only(&[$first, $second])?;
                Ok((Json::read(&at.need($first)?)?, Json::read(&at.need($second)?)?))
            }

            fn write(&self, detail: Detail) -> Value {
                json!({ $first: self.0.write(detail), $second: self.1.write(detail) })
            }

            fn schema(defs: &mut Defs) -> Value {
                json!({
                    "type": "object",
                    "properties": { $first: <$first_ty>::schema(defs), $second: <$second_ty>::schema(defs) },
                    "required": [$first, $second],
                    "additionalProperties": false,
                })
            }
        })*
    };
}

pairs! {
    // Task::files.
    u32, u32: "fd" "file",
    // Inode::ima.
    u32, Vec<u8>: "algo" "digest",
    // Connection::original, Connection::reply.
    SocketAddr, SocketAddr: "src" "dst",
}

/// Options of sockets: bytes by level and name.
impl Json for BTreeMap<(i32, i32), Vec<u8>> {
    fn read(at: &At<'_>) -> Result<Self, CtxError> {
        let option = |at: &At<'_>| {
            at.only(&["level", "name", "value"])?;
            let key = (at.need("level")?.int()?, at.need("name")?.int()?);
            Ok((key, at.need("value")?.base64()?))
        };
        at.list()?.iter().map(option).collect()
    }

    fn write(&self, detail: Detail) -> Value {
        let option = |((level, name), value): (&(i32, i32), &Vec<u8>)| json!({ "level": level, "name": name, "value": value.write(detail) });
        self.iter().map(option).collect()
    }

    fn schema(defs: &mut Defs) -> Value {
        let properties = json!({ "level": i32::schema(defs), "name": i32::schema(defs), "value": Vec::<u8>::schema(defs) });
        json!({ "type": "array", "items": {
            "type": "object", "properties": properties, "required": ["level", "name", "value"],
            "additionalProperties": false,
        } })
    }
}
