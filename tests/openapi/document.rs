//! `docs/openapi.json`, read as a test needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use jsonschema::Validator;
use reqwest::header::HeaderMap;
use serde_json::{Map, Value, json};

/// One method of one path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operation {
    /// In capitals.
    pub method: String,
    /// As written, with `{run}` in it.
    pub path: String,
}

/// The document.
pub struct Document(pub Value);

impl Document {
    /// That of the repository.
    pub fn read() -> Self {
        let text = fs::read_to_string("docs/openapi.json").expect("docs/openapi.json");
        Self(serde_json::from_str(&text).expect("JSON"))
    }

    /// Every operation.
    pub fn operations(&self) -> Vec<Operation> {
        let paths = self.0["paths"].as_object().expect("paths");
        let each = paths.iter().flat_map(|(path, item)| {
            let methods = item.as_object().expect("a path item").keys();
            methods.map(|method| Operation { method: method.to_uppercase(), path: path.clone() })
        });
        each.collect()
    }

    /// What the document says of `operation`.
    pub fn of(&self, operation: &Operation) -> &Value {
        let said = &self.0["paths"][&operation.path][operation.method.to_lowercase()];
        assert!(said.is_object(), "{operation:?} is not in the document");
        said
    }

    /// The scopes that let a bearer in: `None` for an operation that anybody may do, empty where any credential will do.
    pub fn scopes(&self, operation: &Operation) -> Option<Vec<String>> {
        let ways = self.of(operation)["security"].as_array().expect("security");
        if ways.iter().all(|way| way["bearer"].is_null()) || ways.contains(&json!({})) {
            return None;
        }
        let bearer = ways.iter().find_map(|way| way["bearer"].as_array()).expect("a bearer");
        Some(bearer.iter().map(|scope| scope.as_str().expect("a scope").to_owned()).collect())
    }

    /// `value`, or what its `$ref` points to.
    pub fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        let Some(pointer) = value["$ref"].as_str() else { return value };
        let pointer = pointer.strip_prefix('#').expect("a reference within the document");
        self.0.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not in the document"))
    }

    /// A validator of `schema` to which every field is unknown that it does not name: clients pass these over, the
    /// document does not.
    pub fn validator(&self, schema: &Value) -> Validator {
        let mut root = schema.as_object().expect("a schema").clone();
        root.insert("components".into(), json!({"schemas": self.0["components"]["schemas"]}));
        let mut root = Value::Object(root);
        close(&mut root);
        let options = jsonschema::draft202012::options().should_validate_formats(true);
        options.build(&root).unwrap_or_else(|error| panic!("{error}: {schema}"))
    }

    /// Fails unless `value` is what `schema` says, and no more.
    pub fn holds(&self, schema: &Value, value: &Value, what: &str) {
        let errors: Vec<String> = self
            .validator(schema)
            .iter_errors(value)
            .map(|error| format!("{} at {:?}", error, error.instance_path().to_string()))
            .collect();
        assert!(errors.is_empty(), "{what}: {errors:#?}\n{value}");
    }

    /// The schema of the events of the stream, by name.
    pub fn events(&self) -> BTreeMap<String, Value> {
        let stream = Operation { method: "GET".into(), path: "/api/benchmark-sse".into() };
        let content = &self.of(&stream)["responses"]["200"]["content"]["text/event-stream"];
        let events = content["x-events"].as_object().expect("events");
        events.iter().map(|(name, schema)| (name.clone(), schema.clone())).collect()
    }

    /// Fails unless the document lists this answer: status, headers, media type and body. Gives what it says of the
    /// media type.
    pub fn lists(&self, operation: &Operation, status: u16, headers: &HeaderMap, body: &str) -> &Value {
        let what = format!("{} {}: {status} {body:.300}", operation.method, operation.path);
        let listed = &self.of(operation)["responses"][status.to_string()];
        assert!(listed.is_object(), "{what}: the status is not listed");
        self.describes(self.resolve(listed), headers, body, &what)
    }

    /// Fails unless `response` of the document describes headers, media type and body. Gives what it says of the media
    /// type.
    pub fn describes<'a>(&'a self, response: &'a Value, headers: &HeaderMap, body: &str, what: &str) -> &'a Value {
        for (name, header) in response["headers"].as_object().expect("headers") {
            self.header_holds(name, self.resolve(header), headers, what);
        }
        let kind = headers.get("content-type").map(|kind| kind.to_str().expect("text"));
        let Some(kind) = kind else {
            assert!(body.is_empty() && response["content"].is_null(), "{what}: a body of no type");
            return &Value::Null;
        };
        let content = &response["content"][kind.split(';').next().expect("a type").trim()];
        assert!(content.is_object(), "{what}: {kind} is not listed");
        let value = match kind {
            "application/json" | "application/problem+json" => {
                serde_json::from_str(body).unwrap_or_else(|error| panic!("{what}: {error}"))
            }
            _ => Value::String(body.to_owned()),
        };
        self.holds(&content["schema"], &value, what);
        content
    }

    fn header_holds(&self, name: &str, header: &Value, headers: &HeaderMap, what: &str) {
        let Some(value) = headers.get(name).map(|value| value.to_str().expect("text")) else {
            assert!(header["required"] != true, "{what}: no {name}");
            return;
        };
        let value = match header["schema"]["type"].as_str() {
            Some("integer") => value.parse::<u64>().map_or(Value::Null, Value::from),
            _ => Value::from(value),
        };
        self.holds(&header["schema"], &value, &format!("{what}: {name}"));
    }
}

/// Adds `additionalProperties: false` to every object that names its fields.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(close);
            if map.get("type") == Some(&json!("object")) && map.contains_key("properties") {
                map.entry("additionalProperties").or_insert(json!(false));
            }
        }
        Value::Array(list) => list.iter_mut().for_each(close),
        _ => {}
    }
}

/// Every value of the document that is an object, with the keys that lead to it.
pub fn walk<'a>(value: &'a Value, path: &str, seen: &mut impl FnMut(&str, &'a Map<String, Value>)) {
    match value {
        Value::Object(map) => {
            seen(path, map);
            map.iter().for_each(|(key, value)| walk(value, &format!("{path}/{key}"), seen));
        }
        Value::Array(list) => list.iter().for_each(|value| walk(value, path, seen)),
        _ => {}
    }
}

/// The words of an `enum`.
pub fn words(schema: &Value) -> BTreeSet<String> {
    let words = schema["enum"].as_array().unwrap_or_else(|| panic!("no enum in {schema}"));
    words.iter().map(|word| word.as_str().expect("a word").to_owned()).collect()
}
