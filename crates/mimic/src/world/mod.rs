//! World files: everything that a [`World`] states, as JSON.
//!
//! What is not said is as in the default world. The format is described in `docs/world.schema.json`, which is made of the tables here and
//! of the fields' documentation; a context's `emulator` key has the same keys.

mod leaf;
mod net;
mod table;
mod things;

use crate::ctx::CtxError;
use crate::ctx::reader::At;
use mimic_linux::World;
use serde_json::{Map, Value, json};
use table::{Defs, Json};

/// The format's version, as files state it.
pub const WORLD_VERSION: u32 = 1;

/// How much is written of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What is not as in the default world.
    Stated,
    /// Everything that a program could see.
    All,
}

/// Reads a World file's text. A key that is not known is an error.
pub fn read_world(text: &str) -> Result<World, CtxError> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| CtxError { path: String::new(), what: format!("not JSON: {error}") })?;
    let at = At::strict(&value);
    if let Some(version) = at.get("version")
        && version.int::<u32>()? != WORLD_VERSION
    {
        return Err(version.error(format!("this reads version {WORLD_VERSION}")));
    }
    World::read(&at)
}

/// A world as a World file has it.
pub fn write_world(world: &World, detail: Detail) -> Value {
    let mut value = json!({ "version": WORLD_VERSION });
    if let (Some(file), Value::Object(stated)) = (value.as_object_mut(), world.write(detail)) {
        file.extend(stated);
    }
    value
}

/// The JSON schema of World files, without descriptions.
pub fn world_schema() -> Value {
    let mut defs = Defs::default();
    let world = World::schema(&mut defs);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mimic World file",
        "allOf": [world],
        "$defs": Value::Object(defs.0),
    })
}

/// Reads what a context's `emulator` key says over a world; keys that are not known mean nothing.
pub(crate) fn read_over(world: World, at: &At<'_>) -> Result<World, CtxError> {
    things::read_over(world, at)
}

/// States a world in a context's `emulator` key, clock and seed in any case, so that the context makes the same run elsewhere.
pub(crate) fn state(emulator: &mut Map<String, Value>, world: &World) {
    if let Value::Object(stated) = world.write(Detail::Stated) {
        emulator.extend(stated);
    }
    emulator.insert("seed".into(), world.seed.into());
    emulator.insert("clock".into(), world.clock.write(Detail::All));
}
