//! YAML as the tables that the rest of the configuration is made of, so that both are checked alike.
//!
//! A key without a value is a key that is not there, and an anchor is what it stands for. The reader of YAML bounds
//! how often: a text cannot grow without end.

use serde_norway::Value as Yaml;
use toml::{Table, Value};

use crate::config::Fault;

/// # Errors
/// When it is no YAML.
pub(super) fn table(text: &str, faults: &mut Vec<Fault>) -> Result<Table, serde_norway::Error> {
    // Nothing at all is an empty file.
    let yaml: Option<Yaml> = serde_norway::from_str(text)?;
    Ok(match yaml.and_then(|yaml| value(yaml, "", faults)) {
        Some(Value::Table(table)) => table,
        None => Table::new(),
        Some(other) => {
            faults.push(fault("", &other.to_string(), "keys and values"));
            Table::new()
        }
    })
}

fn value(yaml: Yaml, path: &str, faults: &mut Vec<Fault>) -> Option<Value> {
    Some(match yaml {
        Yaml::Null => return None,
        Yaml::Bool(truth) => truth.into(),
        Yaml::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.into(),
            (None, number) => number?.into(),
        },
        Yaml::String(text) => text.into(),
        Yaml::Sequence(items) => {
            let items = items.into_iter();
            let items = items.filter_map(|item| value(item, path, faults));
            Value::Array(items.collect())
        }
        Yaml::Mapping(entries) => {
            let mut table = Table::new();
            for (key, of_key) in entries {
                let Some(key) = name(&key) else {
                    faults.push(fault(path, "a key that is no text", "a name"));
                    continue;
                };
                let path = [path, &key].concat();
                if let Some(value) = value(of_key, &format!("{path}."), faults) {
                    table.insert(key, value);
                }
            }
            table.into()
        }
        Yaml::Tagged(tagged) => return value(tagged.value, path, faults),
    })
}

/// Somebody may be called 42, or true.
fn name(key: &Yaml) -> Option<String> {
    match key {
        Yaml::String(text) => Some(text.clone()),
        Yaml::Number(number) => Some(number.to_string()),
        Yaml::Bool(truth) => Some(truth.to_string()),
        Yaml::Null | Yaml::Sequence(_) | Yaml::Mapping(_) | Yaml::Tagged(_) => None,
    }
}

fn fault(key: &str, found: &str, expected: &str) -> Fault {
    Fault {
        key: if key.is_empty() {
            "the file".to_owned()
        } else {
            key.trim_end_matches('.').to_owned()
        },
        found: found.to_owned(),
        expected: expected.to_owned(),
    }
}
