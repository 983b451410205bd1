//! `At`: a place in a JSON document, with its path for errors, and `CtxError`.

use super::base64;
use serde_json::{Map, Value};
use std::fmt;

/// What is wrong in a context file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CtxError {
    /// The place: `[2].ctx.memory[0].value.size`; empty for the whole document.
    pub path: String,
    /// What is wrong there, and what was expected.
    pub what: String,
}

impl fmt::Display for CtxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.trim_start_matches('.') {
            "" => f.write_str(&self.what),
            path => write!(f, "{path}: {}", self.what),
        }
    }
}

impl std::error::Error for CtxError {}

/// A place in a document.
#[derive(Clone)]
pub(crate) struct At<'a> {
    pub(crate) value: &'a Value,
    path: String,
    strict: bool,
}

impl<'a> At<'a> {
    pub(crate) fn root(value: &'a Value) -> At<'a> {
        At { value, path: String::new(), strict: false }
    }

    /// A document whose keys must all be known.
    pub(crate) fn strict(value: &'a Value) -> At<'a> {
        At { strict: true, ..At::root(value) }
    }

    fn inside(&self, value: &'a Value, path: String) -> At<'a> {
        At { value, path, strict: self.strict }
    }

    /// Says which keys are known here.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), CtxError> {
        let members = self.object()?;
        match members.keys().find(|key| self.strict && !known.contains(&key.as_str())) {
            Some(unknown) => {
                Err(self.error(format!("there is no key {unknown:?} here; there are {}", known.join(", "))))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn error(&self, what: impl Into<String>) -> CtxError {
        CtxError { path: self.path.clone(), what: what.into() }
    }

    fn wrong(&self, expected: &str) -> CtxError {
        let found = match self.value {
            Value::Null => "null".into(),
            Value::Bool(bool) => bool.to_string(),
            Value::Number(number) => number.to_string(),
            Value::String(_) => "a string".to_owned(),
            Value::Array(_) => "an array".into(),
            Value::Object(_) => "an object".into(),
        };
        self.error(format!("expected {expected}, not {found}"))
    }

    /// A member; none if it is not there or null.
    pub(crate) fn get(&self, key: &str) -> Option<At<'a>> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        Some(self.inside(value, format!("{}.{key}", self.path)))
    }

    /// A member that has to be there.
    pub(crate) fn need(&self, key: &str) -> Result<At<'a>, CtxError> {
        self.object()?;
        self.get(key).ok_or_else(|| self.error(format!("there is no \"{key}\"")))
    }

    pub(crate) fn object(&self) -> Result<&'a Map<String, Value>, CtxError> {
        self.value.as_object().ok_or_else(|| self.wrong("an object"))
    }

    /// The members that are none of these, to be kept.
    pub(crate) fn others(&self, known: &[&str]) -> Map<String, Value> {
        let members = self.value.as_object().into_iter().flatten();
        let others = members.filter(|(key, _)| !known.contains(&key.as_str()));
        others.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    pub(crate) fn members(&self) -> Result<Vec<(&'a str, At<'a>)>, CtxError> {
        let at = |(key, value): (&'a String, &'a Value)| {
            (key.as_str(), self.inside(value, format!("{}.{key}", self.path)))
        };
        Ok(self.object()?.iter().map(at).collect())
    }

    pub(crate) fn list(&self) -> Result<Vec<At<'a>>, CtxError> {
        let list = self.value.as_array().ok_or_else(|| self.wrong("an array"))?;
        let at = |(index, value)| self.inside(value, format!("{}[{index}]", self.path));
        Ok(list.iter().enumerate().map(at).collect())
    }

    pub(crate) fn text(&self) -> Result<&'a str, CtxError> {
        self.value.as_str().ok_or_else(|| self.wrong("a string"))
    }

    pub(crate) fn base64(&self) -> Result<Vec<u8>, CtxError> {
        base64::decode(self.text()?).map_err(|error| self.error(error))
    }

    /// A number in a range of integers.
    pub(crate) fn int<T: TryFrom<i128> + Bounded>(&self) -> Result<T, CtxError> {
        let expected = || self.wrong(&format!("a whole number from {} to {}", T::MIN_TEXT, T::MAX_TEXT));
        let number = self.value.as_i64().map(i128::from).or(self.value.as_u64().map(i128::from));
        T::try_from(number.ok_or_else(expected)?).map_err(|_| expected())
    }

    /// The same for a member, with a default.
    pub(crate) fn int_or<T: TryFrom<i128> + Bounded>(&self, key: &str, default: T) -> Result<T, CtxError> {
        self.get(key).map_or(Ok(default), |at| at.int())
    }
}

/// The range of an integer, for errors.
pub(crate) trait Bounded {
    const MIN_TEXT: &'static str;
    const MAX_TEXT: &'static str;
}

macro_rules! bounded {
    ($($ty:ty: $min:literal $max:literal,)*) => {
        $(impl Bounded for $ty {
            const MIN_TEXT: &'static str = $min;
            const MAX_TEXT: &'static str = $max;
        })*
    };
}

bounded! {
    u8: "0" "255",
    u16: "0" "65535",
    u32: "0" "4294967295",
    u64: "0" "18446744073709551615",
    i32: "-2147483648" "2147483647",
    i128: "-9223372036854775808" "18446744073709551615",
}
