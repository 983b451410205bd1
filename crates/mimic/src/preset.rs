//! Presets: entries that maps get before a run, from text (`NAME=KEY:VALUE`) or JSON.
//!
//! The JSON is what `mimic run --json` writes (`{"maps": [{"name", "entries": [{"key", "value"}]}]}`), or shorter: an object of maps by
//! name, each with an object of values by key, an array of the values from index 0 on, or an array of `{"key", "value"}`.

use crate::dump::{Entry, MapContents, hex};
use crate::encode::{Shape, encode, from_text};
use crate::error::Error;
use crate::loaded::Loaded;
use crate::map::MapHandle;
use mimic_abi::btf::TypeId;
use mimic_abi::{Errno, MapType};
use mimic_object::MapOrigin;
use serde_json::{Value, json};

impl Loaded {
    /// Sets an entry as `NAME=KEY:VALUE` says. Of the ways to split the text at colons the first is taken whose sides can be read.
    pub fn preset_text(&self, text: &str) -> Result<(), Error> {
        let Some((name, entry)) = text.split_once('=') else {
            return Err(Error::usage(format!("{text}: expected NAME=KEY:VALUE")));
        };
        let map = self.map(name)?;
        let mut first_error = None;
        for (at, _) in entry.match_indices(':') {
            let (key, value) = (&entry[..at], &entry[at + 1..]);
            let read = from_text(key).and_then(|key| map.encode_key(&key)).and_then(|key| {
                let value = from_text(value)?;
                map.check_value(&value)?;
                Ok((key, value))
            });
            match read {
                Ok((key, value)) => return map.preset(&key, &value).map_err(|error| error.context(text)),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        let why = first_error.unwrap_or_else(|| "expected KEY:VALUE after the map's name".into());
        Err(Error::usage(format!("{text}: {why}")))
    }

    /// What the maps hold now, in the form that [`Loaded::preset_json`] reads; nothing of maps that cannot be listed, of ring buffers, and of
    /// read-only data.
    pub fn save_json(&self) -> Result<Value, Error> {
        let mut maps = Vec::new();
        for map in self.maps() {
            let read_only = matches!(map.spec().origin, MapOrigin::Rodata | MapOrigin::Kconfig);
            let entries = if read_only { Vec::new() } else { map.save_entries()? };
            if !entries.is_empty() {
                maps.push(json!({ "name": map.name(), "entries": entries }));
            }
        }
        Ok(json!({ "maps": maps }))
    }

    /// Sets the entries that a JSON document gives.
    pub fn preset_json(&self, document: &Value) -> Result<(), Error> {
        if let Some(maps) = document.get("maps").and_then(Value::as_array) {
            for (at, value) in maps.iter().enumerate() {
                let name = value.get("name").and_then(Value::as_str);
                let name = name.ok_or_else(|| Error::usage(format!("maps[{at}]: there is no \"name\"")))?;
                let Some(entries) = value.get("entries") else { continue };
                let map = self.map(name).map_err(|error| error.context(format!("maps[{at}]")))?;
                map.preset_entries(entries, &format!("maps[{at}].entries"))?;
            }
            return Ok(());
        }
        let Some(maps) = document.as_object() else {
            return Err(Error::usage("expected an object of maps by name, or one with a list \"maps\""));
        };
        for (name, entries) in maps {
            self.map(name)?.preset_entries(entries, name)?;
        }
        Ok(())
    }
}

impl MapHandle<'_> {
    fn save_entries(&self) -> Result<Vec<Value>, Error> {
        let kind = self.spec().kind();
        if matches!(kind, Ok(MapType::Ringbuf | MapType::PerfEventArray)) {
            return Ok(Vec::new());
        }
        let bytes = |bytes: &[u8]| Value::from(format!("hex:{}", hex(bytes)));
        let saved = match self.contents()? {
            MapContents::Opaque(_) => Vec::new(),
            MapContents::Records(mut records) => {
                if kind == Ok(MapType::Stack) {
                    records.reverse();
                }
                // Looking took them out.
                for record in &records {
                    self.map().update_copy(&[], record, 0)?;
                }
                records.iter().map(|record| json!({ "key": "hex:", "value": bytes(record) })).collect()
            }
            MapContents::Entries(entries) => {
                let is_array = matches!(kind, Ok(MapType::Array | MapType::PercpuArray));
                let worth = entries.iter().filter(|entry| !is_array || !entry.is_zero());
                let save = |entry: &Entry| match entry.values.as_slice() {
                    [value] if !self.is_percpu() => {
                        let value = self.slot(value).map_or_else(|| bytes(value), Value::from);
                        json!({ "key": bytes(&entry.key), "value": value })
                    }
                    values => {
                        let values: Vec<Value> = values.iter().map(|value| bytes(value)).collect();
                        json!({ "key": bytes(&entry.key), "values": values })
                    }
                };
                worth.map(save).collect()
            }
        };
        Ok(saved)
    }

    /// The bytes of a key. The error says what is wrong.
    pub fn encode_key(&self, key: &Value) -> Result<Vec<u8>, String> {
        let spec = self.spec();
        let prefix = spec.kind() == Ok(MapType::LpmTrie);
        encode(&self.shape(spec.key_type, spec.key_size, prefix), key)
            .map_err(|error| format!("key: {error}"))
    }

    /// The bytes of a value. The error says what is wrong.
    pub fn encode_value(&self, value: &Value) -> Result<Vec<u8>, String> {
        let spec = self.spec();
        encode(&self.shape(spec.value_type, spec.value_size, false), value)
            .map_err(|error| format!("value: {error}"))
    }

    fn shape(&self, ty: u32, len: u32, prefix: bool) -> Shape<'_> {
        let btf = self.object().btf.as_deref().filter(|_| ty != 0).map(|btf| (btf, TypeId(ty)));
        Shape { btf, len: len as usize, order: self.object().byte_order, prefix }
    }

    fn check_value(&self, value: &Value) -> Result<(), String> {
        match self.spec().kind() {
            Ok(MapType::ProgArray | MapType::ArrayOfMaps | MapType::HashOfMaps) => Ok(()),
            _ => self.encode_value(value).map(|_| ()),
        }
    }

    /// Sets a value: bytes by its type; of maps of programs and of maps the name of one.
    pub fn preset(&self, key: &[u8], value: &Value) -> Result<(), Error> {
        let name = || value.as_str().ok_or_else(|| Error::usage(format!("expected a name, not {value}")));
        let set = match self.spec().kind() {
            Ok(MapType::ProgArray) => {
                let name = name()?;
                let program = self.loaded().program(name.strip_prefix("program ").unwrap_or(name))?;
                self.map().set_program(key, program.program(), 0)
            }
            Ok(MapType::ArrayOfMaps | MapType::HashOfMaps) => {
                let name = name()?;
                let inner = self.loaded().map(name.strip_prefix("map ").unwrap_or(name))?;
                self.map().set_map(key, inner.map(), 0)
            }
            Ok(kind) if kind.is_percpu() => {
                let value = self.encode_value(value).map_err(Error::usage)?;
                let padded = value.len().next_multiple_of(8);
                let one: Vec<u8> = value.into_iter().chain(std::iter::repeat(0)).take(padded).collect();
                self.map().update_copy(key, &one.repeat(self.loaded().vm().cpus() as usize), 0)
            }
            Ok(_) | Err(_) => {
                let value = self.encode_value(value).map_err(Error::usage)?;
                self.map().update_copy(key, &value, 0)
            }
        };
        set.map_err(|errno| Error::from(errno).context(format!("setting a value of map {}", self.name())))
    }

    fn preset_entries(&self, entries: &Value, path: &str) -> Result<(), Error> {
        let at = |place: String, error: String| Error::usage(format!("{place}: {error}"));
        match entries {
            Value::Object(values) if self.spec().is_data() => self.preset_variables(values, path),
            Value::Object(values) => {
                for (key, value) in values {
                    let place = format!("{path}.{key}");
                    let key = from_text(key).and_then(|key| self.encode_key(&key));
                    let key = key.map_err(|error| at(place.clone(), error))?;
                    self.preset(&key, value).map_err(|error| error.context(place))?;
                }
                Ok(())
            }
            Value::Array(values) => {
                for (index, value) in values.iter().enumerate() {
                    self.preset_entry(index, value)
                        .map_err(|error| error.context(format!("{path}[{index}]")))?;
                }
                Ok(())
            }
            other => Err(at(path.into(), format!("expected an object or an array of entries, not {other}"))),
        }
    }

    fn preset_entry(&self, index: usize, entry: &Value) -> Result<(), Error> {
        let Some(key) = entry.get("key") else {
            let key = self.encode_key(&Value::from(index)).map_err(Error::usage)?;
            return self.preset(&key, entry);
        };
        // What a program cannot have changed need not be put back from a dump.
        if matches!(self.spec().origin, MapOrigin::Rodata | MapOrigin::Kconfig) {
            return Ok(());
        }
        if let Some(Value::Object(variables)) = entry.get("variables") {
            return self.preset_variables(variables, "variables");
        }
        let key = self.encode_key(key).map_err(Error::usage)?;
        if let Some(Value::Array(values)) = entry.get("values") {
            let mut all = Vec::new();
            for value in values {
                all.extend(self.encode_value(value).map_err(Error::usage)?);
                all.resize(all.len().next_multiple_of(8), 0);
            }
            let set = self.map().update_copy(&key, &all, 0);
            return set.map_err(|errno| self.percpu_error(errno, values.len()));
        }
        match entry.get("value") {
            Some(value) => self.preset(&key, value),
            None => Err(Error::usage("there is a \"key\" but no \"value\"")),
        }
    }

    fn percpu_error(&self, errno: Errno, count: usize) -> Error {
        let cpus = self.loaded().vm().cpus();
        Error::from(errno)
            .context(format!("setting {count} values of map {} (there are {cpus} CPUs)", self.name()))
    }

    /// Sets variables of a data section; the others stay as they are.
    fn preset_variables(&self, variables: &serde_json::Map<String, Value>, path: &str) -> Result<(), Error> {
        let mut section: Vec<u8> = self.map().lookup_copy(&[0; 4], 0)?;
        let before = section.clone();
        let known = self.variables(&before);
        for (name, value) in variables {
            let Some((_, variable)) = known.iter().find(|(known, _)| known == name) else {
                let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                return Err(Error::usage(format!(
                    "{path}.{name}: there is no such variable; there are {}",
                    names.join(", ")
                )));
            };
            let shape = Shape {
                btf: variable.btf(),
                len: variable.bytes().len(),
                order: self.object().byte_order,
                prefix: false,
            };
            let bytes =
                encode(&shape, value).map_err(|error| Error::usage(format!("{path}.{name}: {error}")))?;
            let off = variable.bytes().as_ptr() as usize - before.as_ptr() as usize;
            if let Some(to) = section.get_mut(off..off + bytes.len()) {
                to.copy_from_slice(&bytes);
            }
        }
        let set = self.map().update_copy(&[0; 4], &section, 0);
        set.map_err(|errno| Error::from(errno).context(format!("setting variables in {}", self.name())))
    }
}
