//! `Pretty`: typed values for people: as C's initialisers, but with addresses, MAC addresses and network byte order understood.

use mimic_abi::ByteOrder;
use mimic_abi::btf::{Btf, Kind, TypeId, Value};
use std::fmt::{self, Display};
use std::net::{Ipv4Addr, Ipv6Addr};

/// How deep values are shown.
const DEPTH_MAX: usize = 16;
/// Elements of an array that are shown.
const ELEMS_SHOWN: usize = 32;
/// From how many equal elements on they are counted.
const RUN_MIN: usize = 4;

/// A value about to be shown.
pub(crate) struct Pretty<'a> {
    pub(crate) btf: &'a Btf,
    pub(crate) ty: TypeId,
    pub(crate) bytes: &'a [u8],
    pub(crate) order: ByteOrder,
}

impl fmt::Display for Pretty<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.btf.value(self.ty, self.bytes).with_order(self.order);
        if value.missing() > 0 || !value.extra().is_empty() {
            return value.text().max_elems(ELEMS_SHOWN).fmt(f);
        }
        self.put(f, self.ty, &value, 0)
    }
}

impl Pretty<'_> {
    fn put(&self, f: &mut fmt::Formatter<'_>, ty: TypeId, value: &Value<'_>, depth: usize) -> fmt::Result {
        if self.known(f, ty, value)? {
            return Ok(());
        }
        let Some(resolved) = value.ty().filter(|_| depth < DEPTH_MAX) else { return f.write_str("…") };
        match resolved.kind {
            Kind::Struct(composite) => {
                let members = composite.members.iter().zip(value.fields());
                f.write_str("{")?;
                for (at, (member, (name, inner))) in members.enumerate() {
                    f.write_str(if at == 0 { "" } else { ", " })?;
                    self.member(f, name, member.ty, &inner, depth)?;
                }
                f.write_str("}")
            }
            Kind::Array(array) if value.as_chars().is_none() => self.array(f, array.elem, value, depth),
            _ => value.text().max_elems(ELEMS_SHOWN).fmt(f),
        }
    }

    fn member(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &str,
        ty: TypeId,
        value: &Value<'_>,
        depth: usize,
    ) -> fmt::Result {
        if !name.is_empty() {
            write!(f, "{name} = ")?;
        }
        self.put(f, ty, value, depth + 1)
    }

    fn array(
        &self,
        f: &mut fmt::Formatter<'_>,
        elem: TypeId,
        value: &Value<'_>,
        depth: usize,
    ) -> fmt::Result {
        f.write_str("{")?;
        let (mut at, mut shown) = (0, 0);
        while let Some(element) = value.index(at) {
            if shown == ELEMS_SHOWN {
                write!(f, ", … {} more", value.len() - at)?;
                break;
            }
            f.write_str(if at == 0 { "" } else { ", " })?;
            self.put(f, elem, &element, depth + 1)?;
            let same =
                |other: &usize| value.index(*other).is_some_and(|other| other.bytes() == element.bytes());
            let run = (at..value.len()).take_while(same).count();
            if run >= RUN_MIN {
                write!(f, " × {run}")?;
                at += run;
            } else {
                at += 1;
            }
            shown += 1;
        }
        f.write_str("}")
    }

    /// Shows what is known by its type's name; false if it is not.
    fn known(&self, f: &mut fmt::Formatter<'_>, ty: TypeId, value: &Value<'_>) -> Result<bool, fmt::Error> {
        let bytes = value.bytes();
        let named = |name: &str| self.names(ty).any(|known| known == name);
        if let Ok(addr) = <[u8; 16]>::try_from(bytes)
            && named("in6_addr")
        {
            let addr = Ipv6Addr::from(addr);
            match addr.to_ipv4_mapped() {
                Some(v4) => write!(f, "{v4}")?,
                None => write!(f, "{addr}")?,
            }
            return Ok(true);
        }
        if let Ok(addr) = <[u8; 4]>::try_from(bytes)
            && (named("in_addr") || named("__be32"))
        {
            write!(f, "{}", Ipv4Addr::from(addr))?;
            return Ok(true);
        }
        if let Ok(word) = <[u8; 2]>::try_from(bytes)
            && named("__be16")
        {
            Number(u16::from_be_bytes(word)).fmt(f)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// The names of a type and of what it is a typedef of.
    fn names(&self, ty: TypeId) -> impl Iterator<Item = &str> {
        let mut next = Some(ty);
        let mut left = DEPTH_MAX;
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let ty = self.btf.ty(next?)?;
            next = match ty.kind {
                Kind::Typedef(to) | Kind::Const(to) | Kind::Volatile(to) => Some(to),
                Kind::Var(var) => Some(var.ty),
                _ => None,
            };
            Some(ty.name())
        })
    }
}

/// Ports in decimal, protocols in hexadecimal: what they are most often written as.
struct Number(u16);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0x0800 | 0x0806 | 0x8100 | 0x86dd | 0x8847 | 0x88a8 | 0x88cc => write!(f, "{:#06x}", self.0),
            number => f.write_str(&number.to_string()),
        }
    }
}
