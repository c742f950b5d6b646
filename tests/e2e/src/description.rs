//! Docker's own description of its API (Swagger 2.0), and what an answer has
//! that it does not allow.
//!
//! Stricter than the description in one way: a field that it does not know is
//! reported, because a misspelt name is one. More lenient in one: `null` is
//! allowed for lists and objects, because that is how Docker's daemon writes
//! those that are empty.

use std::path::Path;

use serde_json::{Deserializer, Map, Value};

use crate::recorder::Exchange;

#[derive(Debug)]
pub struct Description {
    root: Value,
}

/// One answer against its operation.
#[derive(Debug)]
pub struct Verdict {
    /// As the description writes it: `GET /containers/{id}/json`; none if it
    /// has no such operation.
    pub operation: Option<String>,
    pub problems: Vec<String>,
}

impl Description {
    pub fn load() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/docker-engine-api-v1.50.yaml");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let root: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text).expect("a description in YAML");
        Self { root: with_text_keys(root) }
    }

    pub fn judge(&self, exchange: &Exchange) -> Verdict {
        let Exchange { method, path, status, content_type, body } = exchange;
        let Some((described, operation)) = self.operation(method, path) else {
            return Verdict { operation: None, problems: vec![format!("{method} {path} is not described")] };
        };
        let named = format!("{method} {described}");
        let response = &operation["responses"][status.to_string()];
        let mut problems = Vec::new();
        if response.is_null() {
            problems.push(format!("status {status} is not described"));
        }
        let schema = &response["schema"];
        let has_body = method != "HEAD";
        if has_body && schema["type"] != "string" && !schema.is_null() {
            match content_type.as_deref() {
                Some("application/json") => self.judge_body(schema, body, &mut problems),
                other => problems.push(format!("the type is {other:?}, and should be JSON")),
            }
        }
        let problems = problems.into_iter().map(|problem| format!("{method} {path}: {status}: {problem}")).collect();
        Verdict { operation: Some(named), problems }
    }

    /// A stream holds one value after another.
    fn judge_body(&self, schema: &Value, body: &[u8], problems: &mut Vec<String>) {
        let mut count = 0;
        for value in Deserializer::from_slice(body).into_iter::<Value>() {
            match value {
                Ok(value) => self.check(schema, &value, "answer", problems),
                Err(error) => problems.push(format!("no JSON: {error}")),
            }
            count += 1;
        }
        // A stream of events may be empty, but not the answer to a question.
        if count == 0 && schema["$ref"] != "#/definitions/EventMessage" {
            problems.push("no body".to_owned());
        }
    }

    /// The operation for a request's path, without its version and query.
    fn operation(&self, method: &str, path: &str) -> Option<(&str, &Value)> {
        let path = path.split('?').next().unwrap_or_default();
        let path = match path.strip_prefix("/v").and_then(|rest| rest.split_once('/')) {
            Some((version, rest)) if version.starts_with(|c: char| c.is_ascii_digit()) => format!("/{rest}"),
            _ => path.to_owned(),
        };
        let paths = self.root["paths"].as_object().expect("paths");
        let fits = |described: &str| {
            described.split('/').count() == path.split('/').count()
                && described
                    .split('/')
                    .zip(path.split('/'))
                    .all(|(wanted, found)| wanted.starts_with('{') || wanted == found)
        };
        // `/containers/json` before `/containers/{id}`.
        let mut fitting: Vec<_> = paths.iter().filter(|(described, _)| fits(described)).collect();
        fitting.sort_by_key(|(described, _)| described.matches('{').count());
        let (described, operations) = fitting.first()?;
        let operation = &operations[method.to_ascii_lowercase()];
        (!operation.is_null()).then_some((described.as_str(), operation))
    }

    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(reference) => {
                let pointer = reference.strip_prefix('#').expect("a reference within the description");
                self.resolve(self.root.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere")))
            }
            None => schema,
        }
    }

    pub fn check(&self, schema: &Value, value: &Value, at: &str, problems: &mut Vec<String>) {
        let nullable = schema["x-nullable"] == true;
        let schema = self.resolve(schema);
        let kind = self.kind(schema);
        if value.is_null() {
            let nullable = nullable || schema["x-nullable"] == true || matches!(kind, None | Some("array" | "object"));
            if !nullable {
                problems.push(format!("{at} is null, and should be {kind:?}"));
            }
            return;
        }
        let fits = match kind {
            Some("string") => value.is_string(),
            Some("boolean") => value.is_boolean(),
            Some("integer") => is_integer(schema, value),
            Some("number") => value.is_number(),
            Some("array") => value.is_array(),
            Some("object") => value.is_object(),
            _ => true,
        };
        if !fits {
            problems.push(format!("{at} is {value}, and should be {} {}", kind.unwrap_or_default(), schema["format"]));
            return;
        }
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.contains(value)
        {
            problems.push(format!("{at} is {value}, and should be one of {allowed:?}"));
        }
        match value {
            Value::Array(values) => {
                for (index, value) in values.iter().enumerate() {
                    self.check(&schema["items"], value, &format!("{at}[{index}]"), problems);
                }
            }
            Value::Object(fields) => self.check_object(schema, fields, at, problems),
            _ => {}
        }
    }

    /// What it is: said, or to be seen from what it has.
    fn kind<'a>(&self, schema: &'a Value) -> Option<&'a str> {
        match schema["type"].as_str() {
            None if schema["allOf"].is_array() || schema["properties"].is_object() => Some("object"),
            kind => kind,
        }
    }

    fn check_object(&self, schema: &Value, fields: &Map<String, Value>, at: &str, problems: &mut Vec<String>) {
        let mut known = Map::new();
        self.properties(schema, &mut known);
        for (name, value) in fields {
            let at = format!("{at}.{name}");
            match (known.get(name), &schema["additionalProperties"]) {
                (Some(property), _) => self.check(property, value, &at, problems),
                (None, others @ Value::Object(_)) => self.check(others, value, &at, problems),
                (None, _) if known.is_empty() => {}
                (None, _) => problems.push(format!("{at} is not described")),
            }
        }
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(required) {
                problems.push(format!("{at}.{required} is missing"));
            }
        }
    }

    /// Its own, and those of all that it is made of.
    fn properties(&self, schema: &Value, found: &mut Map<String, Value>) {
        let schema = self.resolve(schema);
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.properties(part, found);
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            found.insert(name.clone(), property.clone());
        }
    }
}

fn is_integer(schema: &Value, value: &Value) -> bool {
    let within = |least: i128, most: i128| {
        let number = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
        number.is_some_and(|number| (least..=most).contains(&number))
    };
    match schema["format"].as_str() {
        Some("uint8") => within(0, u8::MAX.into()),
        Some("uint16") => within(0, u16::MAX.into()),
        Some("uint32") => within(0, u32::MAX.into()),
        Some("uint64") => within(0, u64::MAX.into()),
        _ => within(i64::MIN.into(), i64::MAX.into()),
    }
}

/// Statuses are numbers in YAML.
fn with_text_keys(value: serde_yaml_ng::Value) -> Value {
    use serde_yaml_ng::Value as Yaml;
    match value {
        Yaml::Mapping(fields) => {
            let fields = fields.into_iter().map(|(name, value)| {
                let name = match name {
                    Yaml::String(name) => name,
                    Yaml::Number(number) => number.to_string(),
                    other => panic!("{other:?} is no name"),
                };
                (name, with_text_keys(value))
            });
            Value::Object(fields.collect())
        }
        Yaml::Sequence(values) => values.into_iter().map(with_text_keys).collect(),
        other => serde_json::to_value(other).expect("a value of JSON"),
    }
}
