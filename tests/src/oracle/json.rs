//! Records as JSON, one line a run and one a map, for keeping beside the tests.

use serde_json::{Map, Value, json};

use super::{MapRecord, ObjectRecord, ProgramRecord, RunRecord};

/// Lower-case hexadecimal, two digits a byte; zeros at the end, if they are many, as `+` and their number.
pub(super) fn hex(bytes: &[u8]) -> String {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let zeros = bytes.len() - used;
    let (shown, tail) =
        if zeros > 8 { (&bytes[..used], format!("+{zeros}")) } else { (bytes, String::new()) };
    shown.iter().map(|byte| format!("{byte:02x}")).chain([tail]).collect()
}

impl ObjectRecord {
    /// As text: valid JSON, laid out so that a changed answer is a changed line.
    pub fn to_json(&self) -> String {
        let mut text = format!("{{\"cpus\":{},\"programs\":[\n", self.cpus);
        for (at, program) in self.programs.iter().enumerate() {
            let comma = if at + 1 < self.programs.len() { "," } else { "" };
            text.push_str(&program.to_json());
            text.push_str(comma);
            text.push('\n');
        }
        text.push_str("]}\n");
        text
    }

    /// Reads what `to_json` wrote. The error says what is wrong.
    pub fn from_json(text: &str) -> Result<ObjectRecord, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let programs =
            list(&value, "programs")?.iter().map(ProgramRecord::from_value).collect::<Result<_, _>>()?;
        Ok(ObjectRecord { cpus: number(&value, "cpus")? as u32, programs })
    }
}

impl ProgramRecord {
    fn to_json(&self) -> String {
        let head = json!({ "name": self.name, "type": self.prog_type, "load": self.load }).to_string();
        let mut text = head.trim_end_matches('}').to_owned();
        let runs: Vec<String> = self.runs.iter().map(|run| run.to_value().to_string()).collect();
        let maps: Vec<String> = self.maps.iter().map(|map| map.to_value().to_string()).collect();
        for (key, lines) in [("runs", runs), ("maps", maps)] {
            if !lines.is_empty() {
                text.push_str(&format!(",\"{key}\":[\n {}\n]", lines.join(",\n ")));
            }
        }
        text.push('}');
        text
    }

    fn from_value(value: &Value) -> Result<ProgramRecord, String> {
        let runs =
            optional_list(value, "runs").iter().map(RunRecord::from_value).collect::<Result<_, _>>()?;
        let maps =
            optional_list(value, "maps").iter().map(MapRecord::from_value).collect::<Result<_, _>>()?;
        Ok(ProgramRecord {
            name: text(value, "name")?,
            prog_type: number(value, "type")? as u32,
            load: number(value, "load")? as i32,
            problem: None,
            runs,
            maps,
        })
    }
}

impl RunRecord {
    fn to_value(&self) -> Value {
        let mut object = Map::new();
        object.insert("input".into(), self.input.clone().into());
        object.insert("errno".into(), self.errno.into());
        object.insert("retval".into(), self.retval.into());
        for (key, bytes) in [("data_out", &self.data_out), ("ctx_out", &self.ctx_out)] {
            if let Some(bytes) = bytes {
                object.insert(key.into(), hex(bytes).into());
            }
        }
        object.into()
    }

    fn from_value(value: &Value) -> Result<RunRecord, String> {
        let bytes = |key| value.get(key).map(unhex).transpose();
        Ok(RunRecord {
            input: text(value, "input")?,
            errno: number(value, "errno")? as i32,
            retval: number(value, "retval")? as u32,
            data_out: bytes("data_out")?,
            ctx_out: bytes("ctx_out")?,
            problem: None,
        })
    }
}

impl MapRecord {
    fn to_value(&self) -> Value {
        let entries: Vec<Value> =
            self.entries.iter().map(|(key, value)| json!([hex(key), hex(value)])).collect();
        json!({ "name": self.name, "type": self.map_type, "entries": entries })
    }

    fn from_value(value: &Value) -> Result<MapRecord, String> {
        let entry = |entry: &Value| match entry.as_array().map(Vec::as_slice) {
            Some([key, value]) => Ok((unhex(key)?, unhex(value)?)),
            _ => Err(format!("an entry must be [key, value], not {entry}")),
        };
        Ok(MapRecord {
            name: text(value, "name")?,
            map_type: number(value, "type")? as u32,
            entries: list(value, "entries")?.iter().map(entry).collect::<Result<_, _>>()?,
        })
    }
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a [Value], String> {
    let list = value.get(key).and_then(Value::as_array);
    list.map(Vec::as_slice).ok_or_else(|| format!("no list \"{key}\""))
}

fn optional_list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    list(value, key).unwrap_or_default()
}

fn text(value: &Value, key: &str) -> Result<String, String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| format!("no text \"{key}\""))
}

fn number(value: &Value, key: &str) -> Result<i64, String> {
    value.get(key).and_then(Value::as_i64).ok_or_else(|| format!("no number \"{key}\""))
}

fn unhex(value: &Value) -> Result<Vec<u8>, String> {
    /// Longer than any value of a fixture.
    const ZEROS_MAX: usize = 1 << 20;
    let text = value.as_str().ok_or_else(|| format!("{value} is not hexadecimal"))?;
    let (text, zeros) = text.split_once('+').unwrap_or((text, "0"));
    let zeros = zeros.parse::<usize>().ok().filter(|zeros| *zeros <= ZEROS_MAX);
    let zeros = zeros.ok_or_else(|| format!("{value} has no good number of zeros"))?;
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
    let mut bytes = bytes.ok_or_else(|| format!("{text:?} is not hexadecimal"))?;
    bytes.resize(bytes.len() + zeros, 0);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip() {
        let run = RunRecord {
            input: "udp".into(),
            retval: 4294967295,
            data_out: Some(vec![1, 0xab]),
            ..RunRecord::default()
        };
        let map = MapRecord {
            name: "m".into(),
            map_type: 1,
            entries: vec![(vec![1], vec![]), (vec![2], vec![3, 4]), (vec![0; 20], vec![5, 0])],
        };
        let refused = ProgramRecord { name: "no".into(), prog_type: 6, load: 13, ..ProgramRecord::default() };
        let loaded = ProgramRecord {
            name: "yes".into(),
            runs: vec![run.clone(), run],
            maps: vec![map],
            ..refused.clone()
        };
        let record = ObjectRecord { cpus: 2, programs: vec![refused, loaded] };
        assert_eq!(ObjectRecord::from_json(&record.to_json()), Ok(record));
        assert!(ObjectRecord::from_json("{\"cpus\":2,\"programs\":[{\"name\":1}]}").is_err());
    }
}
