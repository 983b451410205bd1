//! World files: their schema, which is made of the tables and of the fields' documentation, and an example that states every key.

use mimic::world::{Detail, read_world, world_schema, write_world};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const EXAMPLE: &str = include_str!("data/world.json");

/// Keys that the example lacks, since they are short forms of others that it has.
const NOT_WRITTEN: [&str; 3] = ["World.$schema", "World.devices", "Task.cgroup_ids"];

#[test]
fn the_schema_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/world.schema.json");
    let text = format!("{:#}\n", described(world_schema()));
    if std::env::var_os("MIMIC_BLESS").is_some() {
        std::fs::write(&path, &text).expect("docs can be written");
    }
    let found = std::fs::read_to_string(&path).expect("the schema is there");
    assert_eq!(
        found, text,
        "docs/world.schema.json is old: MIMIC_BLESS=1 cargo test -p mimic-ebpf --test world"
    );
}

#[test]
fn contexts_have_the_same_keys() {
    let schema: Value =
        serde_json::from_str(include_str!("../../../docs/context.schema.json")).expect("it is JSON");
    let world = world_schema();
    let of_files = world["$defs"]["World"]["properties"].as_object().expect("it is a structure");
    let of_contexts = schema["$defs"]["world"]["properties"].as_object().expect("it is a structure");
    let expected: BTreeSet<&String> =
        of_files.keys().filter(|key| !["version", "$schema"].contains(&key.as_str())).collect();
    assert_eq!(of_contexts.keys().collect::<BTreeSet<_>>(), expected);
    for (key, value) in of_contexts {
        assert_eq!(value["$ref"], format!("world.schema.json#/$defs/World/properties/{key}"));
    }
}

#[test]
fn every_key_round_trips() {
    let world = read_world(EXAMPLE).expect("it is good");
    let stated: Value = serde_json::from_str(EXAMPLE).expect("it is JSON");
    assert_eq!(write_world(&world, Detail::Stated), stated);
    let all = write_world(&world, Detail::All);
    assert_eq!(read_world(&all.to_string()), Ok(world));
    let empty = mimic::linux::World::default();
    assert_eq!(write_world(&empty, Detail::Stated).to_string(), r#"{"version":1}"#);
    assert_eq!(read_world(&write_world(&empty, Detail::All).to_string()), Ok(empty));
}

#[test]
fn the_example_is_as_the_schema_says_and_has_every_key() {
    let schema = world_schema();
    let mut seen = BTreeSet::new();
    let value = serde_json::from_str(EXAMPLE).expect("it is JSON");
    check(&schema, &schema["allOf"][0], &value, "", &mut seen).expect("the example is as the schema says");
    let defs = schema["$defs"].as_object().expect("there are definitions");
    for (name, def) in defs {
        for key in def["properties"].as_object().expect("it is a structure").keys() {
            let key = format!("{name}.{key}");
            assert!(seen.contains(&key) || NOT_WRITTEN.contains(&key.as_str()), "the example lacks {key}");
        }
    }
}

#[test]
fn mistakes_are_named_with_their_place() {
    for (text, expected) in [
        ("[]", "expected an object, not an array"),
        (r#"{"version": 2}"#, "version: this reads version 1"),
        (
            r#"{"net": {"devics": []}}"#,
            r#"net: there is no key "devics" here; there are cookie, inum, devices"#,
        ),
        (r#"{"tasks": [{"pid": 3}, {"pid": -1}]}"#, "tasks[1].pid: expected a whole number from 0"),
        (r#"{"net": {"routes": [{"dst": "10.0.0.0"}]}}"#, "net.routes[0].dst: expected a network as in"),
        (r#"{"net": {"routes": [{"dst": "10.0.0.0/33"}]}}"#, "net.routes[0].dst: expected a network as in"),
        (r#"{"net": {"routes": [{"dst": "::/0", "kind": "x"}]}}"#, "kind: expected one of unicast"),
        (
            r#"{"tasks": [{"memory": [{"start": 1, "len": 1, "bytes": "AAAA"}]}]}"#,
            "memory[0]: expected an area",
        ),
        (r#"{"files": [{"id": 1}]}"#, "files[0]: there is no \"path\""),
    ] {
        let error = read_world(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{error} ({text})");
    }
}

#[test]
fn short_forms_are_read() {
    let text =
        r#"{"devices": [{"ifindex": 4, "name": "x"}], "tasks": [{"pid": 3, "cgroup_ids": [1, 5, 6]}]}"#;
    let world = read_world(text).expect("it is good");
    let indices: Vec<u32> = world.net.devices.0.iter().map(|device| device.ifindex).collect();
    assert_eq!(indices, [1, 4]);
    assert_eq!((world.tasks[0].tgid, world.tasks[0].cgroup, world.cgroups.len()), (3, 6, 3));
    assert_eq!(read_world(&write_world(&world, Detail::Stated).to_string()), Ok(world));
}

/// Checks a value by what is used of JSON schema here, and notes which members of which structures were seen.
fn check(
    root: &Value,
    schema: &Value,
    value: &Value,
    place: &str,
    seen: &mut BTreeSet<String>,
) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")) {
        seen.extend(value.as_object().into_iter().flatten().map(|(key, _)| format!("{name}.{key}")));
        return check(root, &root["$defs"][name], value, place, seen);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let fits = choices.iter().any(|choice| check(root, choice, value, place, seen).is_ok());
        return if fits { Ok(()) } else { Err(format!("{place}: none of the choices")) };
    }
    if let Some(words) = schema["enum"].as_array() {
        return if words.contains(value) { Ok(()) } else { Err(format!("{place}: not one of the words")) };
    }
    let fits = match schema["type"].as_str() {
        Some("integer") => {
            let number = |value: &Value| value.as_i64().map(i128::from).or(value.as_u64().map(i128::from));
            number(value).is_some_and(|found| {
                number(&schema["minimum"]).is_some_and(|min| min <= found)
                    && number(&schema["maximum"]).is_some_and(|max| found <= max)
            })
        }
        Some("boolean") => value.is_boolean(),
        Some("string") => value.is_string(),
        Some("array") => {
            for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                check(root, &schema["items"], item, &format!("{place}[{index}]"), seen)?;
            }
            value.is_array()
        }
        Some("object") => {
            for (key, member) in value.as_object().into_iter().flatten() {
                let known = schema["properties"].get(key).or_else(|| {
                    schema["additionalProperties"].as_object().map(|_| &schema["additionalProperties"])
                });
                let known = known.ok_or_else(|| format!("{place}.{key}: no such key"))?;
                check(root, known, member, &format!("{place}.{key}"), seen)?;
            }
            let required = schema["required"].as_array().into_iter().flatten();
            value.is_object() && required.flat_map(Value::as_str).all(|key| value.get(key).is_some())
        }
        Some(other) => return Err(format!("{place}: the schema says {other}")),
        None => true,
    };
    if fits { Ok(()) } else { Err(format!("{place}: {value} is not as {schema} says")) }
}

/// The schema with what the source says of structures and their fields.
fn described(mut schema: Value) -> Value {
    let docs = docs();
    let defs = schema["$defs"].as_object_mut().expect("there are definitions");
    for (name, def) in defs {
        describe(def, docs.get(name.as_str()));
        let properties = def["properties"].as_object_mut().expect("it is a structure");
        for (key, property) in
            properties.iter_mut().filter(|(_, property)| property.get("description").is_none())
        {
            let about = docs.get(format!("{name}.{key}").as_str());
            assert!(about.is_some(), "no documentation of {name}.{key} was found");
            describe(property, about);
        }
    }
    schema
}

fn describe(schema: &mut Value, about: Option<&String>) {
    if let (Some(schema), Some(about)) = (schema.as_object_mut(), about) {
        // References stand alone in older drafts' readers, and so do descriptions.
        let mut described = Map::new();
        described.insert("description".into(), about.as_str().into());
        described.extend(std::mem::take(schema));
        *schema = described;
    }
}

/// What the source of mimic-linux says of public structures (`Task`) and their fields (`Task.pid`).
fn docs() -> BTreeMap<String, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mimic-linux/src");
    let mut files = vec![source.join("progs/perf_event.rs")];
    let world = std::fs::read_dir(source.join("world")).expect("the source is there");
    files.extend(world.flatten().map(|entry| entry.path()));
    let mut docs = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("the source is text");
        let (mut about, mut within) = (String::new(), String::new());
        for line in text.lines().map(str::trim) {
            if let Some(more) = line.strip_prefix("///") {
                let gap = if about.is_empty() { "" } else { " " };
                about = format!("{about}{gap}{}", more.trim());
                continue;
            }
            if line.starts_with("#[") {
                continue;
            }
            let said = std::mem::take(&mut about);
            if let Some(name) = line.strip_prefix("pub struct ").and_then(|line| line.strip_suffix(" {")) {
                within = name.into();
                // The first paragraph: what follows is an example, for readers of Rust.
                docs.insert(within.clone(), said.split(" ```").next().unwrap_or_default().into());
            } else if let Some((name, _)) = line.strip_prefix("pub ").and_then(|line| line.split_once(": ")) {
                docs.insert(format!("{within}.{name}"), said);
            }
        }
    }
    docs
}
