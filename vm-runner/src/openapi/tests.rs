//! The document says what the routes do: every area, every method, every example.

use std::collections::HashSet;

use http::Method;
use serde_json::Value;

use super::*;

const METHODS: [Method; 6] =
    [Method::GET, Method::HEAD, Method::PUT, Method::PATCH, Method::POST, Method::DELETE];

/// Variants of an enum as its source names them.
fn variants(name: &str) -> Vec<String> {
    let source = include_str!("../../api/src/area.rs");
    let body = source.split(&format!("enum {name} {{")).nth(1).unwrap().split("\n}").next().unwrap();
    let lines = body.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    lines.map(|line| line.trim_end_matches(',').to_owned()).collect()
}

fn areas() -> Vec<String> {
    let names = variants("Area").into_iter().flat_map(|name| match name.split_once('(') {
        None => vec![name],
        Some((name, inner)) => {
            let inner = variants(inner.trim_end_matches(')'));
            inner.into_iter().map(|action| format!("{name}({action})")).collect()
        }
    });
    names.collect()
}

fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let Some(reference) = schema.get("$ref").and_then(Value::as_str) else { return schema };
    document.pointer(reference.trim_start_matches('#')).unwrap_or_else(|| panic!("{reference} leads nowhere"))
}

fn has_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("unknown type {other}"),
    }
}

/// What is wrong with a value, by the parts of JSON Schema that our schemas use.
fn check(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if schema.get("$ref").is_some() {
        check(document, resolve(document, schema), value, at)?;
    }
    let fails = |reason: String| Err(format!("{at}: {reason}: {value}"));
    match schema.get("type") {
        Some(Value::String(name)) if !has_type(value, name) => return fails(format!("no {name}")),
        Some(Value::Array(names)) if !names.iter().any(|name| has_type(value, name.as_str().unwrap())) => {
            return fails(format!("none of {names:?}"));
        }
        _ => {}
    }
    if schema.get("const").is_some_and(|only| only != value) {
        return fails(format!("not {}", schema["const"]));
    }
    if schema.get("enum").and_then(Value::as_array).is_some_and(|all| !all.contains(value)) {
        return fails(format!("not in {}", schema["enum"]));
    }
    if let (Some(least), Some(number)) = (schema.get("minimum").and_then(Value::as_f64), value.as_f64())
        && number < least
    {
        return fails(format!("less than {least}"));
    }
    for (keyword, fits) in [
        ("allOf", (|fitting, all| fitting == all) as fn(usize, usize) -> bool),
        ("anyOf", |fitting, _| fitting > 0),
        ("oneOf", |fitting, _| fitting == 1),
    ] {
        let Some(schemas) = schema.get(keyword).and_then(Value::as_array) else { continue };
        let results: Vec<_> = schemas.iter().map(|schema| check(document, schema, value, at)).collect();
        if !fits(results.iter().filter(|result| result.is_ok()).count(), schemas.len()) {
            return fails(format!("{keyword} does not fit: {results:?}"));
        }
    }
    if let Some(object) = value.as_object() {
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            if !object.contains_key(name.as_str().unwrap()) {
                return fails(format!("{name} is missing"));
            }
        }
        for (name, value) in object {
            match (schema.pointer(&format!("/properties/{name}")), schema.get("additionalProperties")) {
                (Some(property), _) => check(document, property, value, &format!("{at}.{name}"))?,
                (None, Some(Value::Bool(false))) => return fails(format!("{name} is unknown")),
                (None, _) => {}
            }
        }
    }
    if let (Some(items), Some(array)) = (schema.get("items"), value.as_array()) {
        for (index, value) in array.iter().enumerate() {
            check(document, items, value, &format!("{at}[{index}]"))?;
        }
    }
    Ok(())
}

/// Every object in the document that has a schema and examples.
fn with_examples<'a>(value: &'a Value, at: &str, found: &mut Vec<(String, &'a Value, &'a Value)>) {
    match value {
        Value::Object(object) => {
            if let Some(schema) = object.get("schema") {
                found.extend(object.get("example").map(|example| (at.to_owned(), schema, example)));
                let examples = object.get("examples").and_then(Value::as_object).into_iter().flatten();
                found.extend(
                    examples.map(|(name, example)| (format!("{at}/{name}"), schema, &example["value"])),
                );
            }
            object.iter().for_each(|(name, value)| with_examples(value, &format!("{at}/{name}"), found));
        }
        Value::Array(array) => {
            array
                .iter()
                .enumerate()
                .for_each(|(index, value)| with_examples(value, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

#[test]
fn every_route_of_a_workspace_is_documented_with_exactly_its_methods() {
    let operations = operations();
    for name in areas() {
        let of_area: Vec<_> = operations
            .iter()
            .filter(|operation| operation.area.is_some_and(|area| format!("{area:?}") == name))
            .collect();
        let area = of_area.first().unwrap_or_else(|| panic!("{name} is not documented")).area.unwrap();
        let path = path_of(area)
            .replace("{pid}", "7")
            .replace("{id}", "x")
            .replace("{name}", "x")
            .replace("{path}", "a/b");
        for method in METHODS {
            let is_served = Area::parse(&path, method.as_str()) == Ok(area);
            let is_documented = of_area.iter().any(|operation| operation.method() == method.as_str());
            assert_eq!(is_documented, is_served, "{method} {path}");
        }
    }
}

#[test]
fn operations_have_names_of_their_own_and_a_good_answer() {
    let document = document();
    let mut ids = HashSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
            let tag = &operation["tags"][0];
            assert!(document["tags"].as_array().unwrap().iter().any(|known| known["name"] == *tag), "{tag}");
            let statuses: Vec<_> = operation["responses"].as_object().unwrap().keys().collect();
            assert!(
                statuses.iter().any(|status| status.starts_with('2') || *status == "101"),
                "{method} {path}"
            );
            let names: Vec<_> = operation["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .map(|parameter| &parameter["name"])
                .collect();
            for part in path.split('{').skip(1) {
                let name = part.split('}').next().unwrap();
                assert!(names.iter().any(|known| *known == name), "{path}: {name}");
            }
            assert_eq!(names.len(), names.iter().collect::<HashSet<_>>().len(), "{method} {path}: {names:?}");
        }
    }
}

#[test]
fn examples_are_what_they_are_examples_of() {
    let wrong: Vec<_> = operations().iter().flat_map(Operation::wrong_examples).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let document = document();
    let mut found = Vec::new();
    with_examples(&document, "", &mut found);
    assert!(found.len() > 50, "{}", found.len());
    for (at, schema, example) in found {
        check(&document, schema, example, &at).unwrap();
    }
}

#[test]
fn an_example_that_is_wrong_would_be_found() {
    let document = document();
    let schema = json!({"$ref": "#/components/schemas/MoveRequest"});
    check(&document, &schema, &json!({"from": "/a", "to": "/b"}), "").unwrap();
    for wrong in [json!({"form": "/a"}), json!({"from": 1}), json!([])] {
        check(&document, &schema, &wrong, "").unwrap_err();
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_says_what_it_is() {
    let document = document();
    let text = document.to_string();
    for part in text.split("\"$ref\":\"").skip(1) {
        let reference = part.split('"').next().unwrap();
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(schema.get("description").is_some(), "{name} has no description");
    }
}

#[test]
fn every_problem_code_is_in_the_document_once() {
    let document = document();
    assert_eq!(document["x-problem-codes"].as_array().unwrap().len(), ProblemCode::ALL.len());
}
