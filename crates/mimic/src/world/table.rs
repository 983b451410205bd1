//! `Json`: a type that World files know, and `structure!` and `words!`, which make structures and enumerations known by the names of their
//! members.
//!
//! **A structure's table takes it apart without a rest: a new field does not compile until it has a key.**

use super::Detail;
use crate::ctx::CtxError;
use crate::ctx::reader::At;
use serde_json::{Map, Value, json};

/// The schema's definitions, by name.
#[derive(Default)]
pub(super) struct Defs(pub(super) Map<String, Value>);

/// A value that is read from, and written as, JSON.
pub(super) trait Json: Sized + PartialEq {
    /// Reads it.
    fn read(at: &At<'_>) -> Result<Self, CtxError>;

    /// Writes it.
    fn write(&self, detail: Detail) -> Value;

    /// What JSON it is, and what it is made of into `defs`.
    fn schema(defs: &mut Defs) -> Value;

    /// Reads a list of them.
    fn read_list(at: &At<'_>) -> Result<Vec<Self>, CtxError> {
        at.list()?.iter().map(Self::read).collect()
    }

    /// Writes a list of them.
    fn write_list(list: &[Self], detail: Detail) -> Value {
        list.iter().map(|value| value.write(detail)).collect()
    }

    /// What JSON a list of them is.
    fn list_schema(defs: &mut Defs) -> Value {
        json!({ "type": "array", "items": Self::schema(defs) })
    }
}

/// A member that has to be there.
pub(super) fn need<T: Json>(at: &At<'_>, key: &str) -> Result<T, CtxError> {
    T::read(&at.need(key)?)
}

/// A member, or what stands for it.
pub(super) fn read_or<T: Json>(at: &At<'_>, key: &str, default: T) -> Result<T, CtxError> {
    at.get(key).map_or(Ok(default), |at| T::read(&at))
}

/// A structure: its type; what it is before its keys are read (from the place itself, so that required keys can be asked for); the keys that
/// are always written; the others; and keys that
/// are only read, with what they mean.
macro_rules! structure {
    ($ty:ident, $base:expr, [$($always:ident),*], [$($field:ident),* $(,)?] $(, also [$($also:literal $about:literal),*])?) => {
        impl $crate::world::table::Keys for $ty {
            const NAMES: &'static [&'static str] =
                &[$(stringify!($always),)* $(stringify!($field),)* $($($also,)*)?];
            const ALSO: &'static [(&'static str, &'static str)] = &[$($(($also, $about),)*)?];

            fn base(at: &$crate::ctx::reader::At<'_>) -> Result<Self, $crate::ctx::CtxError> {
                let base: fn(&$crate::ctx::reader::At<'_>) -> Result<Self, $crate::ctx::CtxError> = $base;
                base(at)
            }

            fn set(&mut self, at: &$crate::ctx::reader::At<'_>) -> Result<(), $crate::ctx::CtxError> {
                $(if let Some(at) = at.get(stringify!($always)) {
                    self.$always = $crate::world::table::Json::read(&at)?;
                })*
                $(if let Some(at) = at.get(stringify!($field)) {
                    self.$field = $crate::world::table::Json::read(&at)?;
                })*
                Ok(())
            }
        }

        impl $crate::world::table::Json for $ty {
            fn read(at: &$crate::ctx::reader::At<'_>) -> Result<Self, $crate::ctx::CtxError> {
                use $crate::world::table::Keys;
                at.only(Self::NAMES)?;
                let mut value = Self::base(at)?;
                value.set(at)?;
                Ok(value)
            }

            fn write(&self, detail: $crate::world::Detail) -> serde_json::Value {
                use $crate::world::table::Keys;
                let $ty { $($always,)* $($field),* } = self;
                let mut to = serde_json::Map::new();
                $(to.insert(stringify!($always).into(), $always.write(detail));)*
                let written = serde_json::Value::Object(to.clone());
                let base = Self::base(&$crate::ctx::reader::At::root(&written)).ok();
                let _base = base.filter(|_| detail == $crate::world::Detail::Stated);
                $(if _base.as_ref().is_none_or(|base| base.$field != *$field) {
                    to.insert(stringify!($field).into(), $field.write(detail));
                })*
                serde_json::Value::Object(to)
            }

            fn schema(defs: &mut $crate::world::table::Defs) -> serde_json::Value {
                use $crate::world::table::{member_schema, struct_schema};
                struct_schema::<Self>(defs, stringify!($ty), &[$(stringify!($always)),*], |of, defs| {
                    $(member_schema(of, defs, stringify!($always), |value: &Self| &value.$always);)*
                    $(member_schema(of, defs, stringify!($field), |value: &Self| &value.$field);)*
                })
            }
        }
    };
}

/// An enumeration whose variants are words.
macro_rules! words {
    ($ty:ident: $($variant:ident $word:literal),+ $(,)?) => {
        impl $crate::world::table::Json for $ty {
            fn read(at: &$crate::ctx::reader::At<'_>) -> Result<Self, $crate::ctx::CtxError> {
                match at.text()? {
                    $($word => Ok($ty::$variant),)+
                    other => {
                        let words = [$($word),+].join(", ");
                        Err(at.error(format!("expected one of {words}, not {other:?}")))
                    }
                }
            }

            fn write(&self, _: $crate::world::Detail) -> serde_json::Value {
                match self {
                    $($ty::$variant => $word.into(),)+
                }
            }

            fn schema(_: &mut $crate::world::table::Defs) -> serde_json::Value {
                serde_json::json!({ "enum": [$($word),+] })
            }
        }
    };
}

pub(super) use {structure, words};

/// A structure by its members' names.
pub(super) trait Keys: Sized {
    /// All keys that are read.
    const NAMES: &'static [&'static str];
    /// Those of them that are only read, and what they mean.
    const ALSO: &'static [(&'static str, &'static str)];
    /// What it is before its keys are read.
    fn base(at: &At<'_>) -> Result<Self, CtxError>;
    /// Reads the keys that are there.
    fn set(&mut self, at: &At<'_>) -> Result<(), CtxError>;
}

/// Puts a structure's definition into `defs`, once.
pub(super) fn struct_schema<T: Keys>(
    defs: &mut Defs,
    name: &str,
    always: &[&str],
    members: fn(&mut Map<String, Value>, &mut Defs),
) -> Value {
    if !defs.0.contains_key(name) {
        // So that a structure may hold others of its kind.
        defs.0.insert(name.into(), Value::Null);
        let mut properties = Map::new();
        members(&mut properties, defs);
        for (key, about) in T::ALSO {
            properties.insert((*key).into(), json!({ "description": about }));
        }
        let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
        let nothing = Value::Object(Map::new());
        if T::base(&At::root(&nothing)).is_err() {
            schema["required"] = json!(always);
        }
        defs.0.insert(name.into(), schema);
    }
    json!({ "$ref": format!("#/$defs/{name}") })
}

/// Adds a member, whose type the accessor tells.
pub(super) fn member_schema<S, T: Json>(
    of: &mut Map<String, Value>,
    defs: &mut Defs,
    name: &str,
    _: fn(&S) -> &T,
) {
    of.insert(name.into(), T::schema(defs));
}
