//! The generated schema against the chart, against the conventions, and against the Rust types.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use lodge_crds::{CronJobSpec, SessionSpec, WorkspaceSpec, definitions, to_yaml};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::Path};

fn templates() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/lodge-crds/templates")
}

fn schemas() -> Vec<(String, Value)> {
    let root = |definition: &CustomResourceDefinition| {
        let definition = serde_json::to_value(definition).unwrap();
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap().to_owned();
        (kind, definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone())
    };
    definitions().iter().map(root).collect()
}

/// Every schema below `schema`, with its path.
fn walk(path: &str, schema: &Value, visit: &mut dyn FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), property, visit);
    }
    if schema["items"].is_object() {
        walk(&format!("{path}[]"), &schema["items"], visit);
    }
    if schema["additionalProperties"].is_object() {
        walk(&format!("{path}{{}}"), &schema["additionalProperties"], visit);
    }
}

fn violations(check: impl Fn(&Value) -> Option<&'static str>) -> Vec<String> {
    let mut violations = Vec::new();
    for (kind, schema) in schemas() {
        walk(&kind, &schema, &mut |path, schema| {
            if let Some(violation) = check(schema) {
                violations.push(format!("{path}: {violation}"));
            }
        });
    }
    violations
}

#[test]
fn the_chart_holds_what_the_types_say() {
    let mut expected = BTreeSet::from(["NOTES.txt".to_owned()]);
    for definition in definitions() {
        let name = format!("{}.yaml", definition.metadata.name.clone().unwrap());
        let generated = to_yaml(&definition).unwrap();
        let held = fs::read_to_string(templates().join(&name)).unwrap_or_default();
        assert!(held == generated, "charts/lodge-crds/templates/{name} is out of date: run `make crds`");
        assert!(!generated.contains("{{"), "{name} holds a template action of Helm");
        expected.insert(name);
    }
    let entries = fs::read_dir(templates()).unwrap();
    let found: BTreeSet<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(found, expected);
}

#[test]
fn the_yaml_says_what_the_definition_says() {
    for definition in definitions() {
        let read: CustomResourceDefinition = serde_saphyr::from_str(&to_yaml(&definition).unwrap()).unwrap();
        assert_eq!(read, definition);
    }
}

#[test]
fn every_field_has_a_description_that_is_a_sentence() {
    let violations = violations(|schema| {
        for property in
            schema["properties"].as_object().into_iter().flat_map(|properties| properties.values())
        {
            let description = property["description"].as_str().unwrap_or_default();
            let bare = !description.contains(['`', '[', '\n']);
            if description.is_empty() {
                return Some("a field has no description");
            } else if !(description.ends_with('.') && bare || description.contains("\n\n")) {
                return Some(
                    "a description has marks of Rust's documentation, or doesn't end with a full stop",
                );
            }
        }
        None
    });
    assert_eq!(violations, Vec::<String>::new());
}

#[test]
fn every_default_of_a_scalar_is_in_the_description() {
    let violations = violations(|schema| {
        let scalar =
            schema["default"].is_string() || schema["default"].is_number() || schema["default"].is_boolean();
        let says_so = schema["description"].as_str().is_some_and(|text| text.contains("Default: "));
        (scalar && !says_so).then_some("the description doesn't say the default")
    });
    assert_eq!(violations, Vec::<String>::new());
}

#[test]
fn everything_has_a_bound() {
    let violations = violations(|schema| match schema["type"].as_str() {
        Some("string") => {
            let bounded =
                schema["maxLength"].is_u64() || schema["enum"].is_array() || schema["format"] == "date-time";
            (!bounded).then_some("a string without maxLength, enum or format")
        }
        Some("array") => (!schema["maxItems"].is_u64()).then_some("a list without maxItems"),
        Some("object") => {
            let map = schema["additionalProperties"].is_object()
                || schema["x-kubernetes-preserve-unknown-fields"] == json!(true);
            (map && !schema["maxProperties"].is_u64()).then_some("a map without maxProperties")
        }
        Some("integer") => {
            let known = schema["format"] == "int32" || schema["format"] == "int64";
            (!(known && schema["minimum"].is_number())).then_some("an integer without format and minimum")
        }
        Some("boolean") => None,
        Some("number") => Some("a floating-point number"),
        Some(_) => Some("an unknown type"),
        None => (schema["x-kubernetes-int-or-string"] != json!(true)).then_some("no type"),
    });
    assert_eq!(violations, Vec::<String>::new());
}

#[test]
fn every_list_says_how_it_is_merged_and_no_field_is_nullable() {
    let violations = violations(|schema| {
        if schema["type"] == "array" && !schema["x-kubernetes-list-type"].is_string() {
            Some("a list without x-kubernetes-list-type")
        } else {
            (!schema["nullable"].is_null()).then_some("nullable")
        }
    });
    assert_eq!(violations, Vec::<String>::new());
}

#[test]
fn every_rule_has_a_message_of_one_line() {
    let violations = violations(|schema| {
        let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
        let mut messages = rules.map(|rule| rule["message"].as_str().unwrap_or_default());
        messages
            .any(|message| message.is_empty() || message.contains('\n'))
            .then_some("a rule without a message")
    });
    assert_eq!(violations, Vec::<String>::new());
}

#[test]
fn the_kinds_are_found_by_the_names_that_people_use() {
    let names: Vec<_> = definitions()
        .into_iter()
        .map(|definition| (definition.spec.names, definition.spec.scope, definition.spec.versions))
        .map(|(names, scope, versions)| {
            assert_eq!(scope, "Namespaced");
            assert_eq!(names.categories, Some(vec!["lodge".to_owned()]));
            assert!(versions[0].subresources.as_ref().unwrap().status.is_some());
            (names.plural, names.short_names.unwrap().join(","))
        })
        .collect();
    let expected = [("workspaces", "ws"), ("sessions", "wsess"), ("cronjobs", "wscron")];
    assert_eq!(names, expected.map(|(plural, short)| (plural.to_owned(), short.to_owned())));
}

#[test]
fn the_defaults_of_the_schema_are_those_of_the_types() {
    let schemas = schemas();
    let defaulted = |kind: &str, mut spec: Value| {
        let (_, schema) = schemas.iter().find(|(name, _)| name == kind).unwrap();
        apply_defaults(&schema["properties"]["spec"], &mut spec);
        spec
    };

    let spec = defaulted("Workspace", json!({}));
    assert_eq!(spec, serde_json::to_value(WorkspaceSpec::default()).unwrap());
    assert_eq!(serde_json::from_value::<WorkspaceSpec>(spec).unwrap(), WorkspaceSpec::default());

    let written = json!({ "workspaceRef": { "name": "ada" }, "agent": { "name": "pi" } });
    let read: SessionSpec = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(defaulted("Session", written), serde_json::to_value(&read).unwrap());
    assert_eq!(read, SessionSpec::new(read.workspace_ref.clone(), read.agent.clone()));

    let written = json!({
        "workspaceRef": { "name": "ada" },
        "schedule": "@daily",
        "action": { "exec": { "command": "make" } },
    });
    let read: CronJobSpec = serde_json::from_value(written.clone()).unwrap();
    assert_eq!(defaulted("CronJob", written), serde_json::to_value(&read).unwrap());
    assert_eq!(
        read,
        CronJobSpec::new(read.workspace_ref.clone(), read.schedule.clone(), read.action.clone())
    );
}

#[test]
fn what_nobody_has_looked_at_is_not_up_to_date() {
    for (kind, schema) in schemas() {
        let mut object = json!({ "metadata": { "generation": 1 } });
        apply_defaults(&json!({ "properties": { "status": schema["properties"]["status"] } }), &mut object);
        assert_eq!(object["status"], json!({ "observedGeneration": -1 }), "{kind}");
        let minimum = &schema["properties"]["status"]["properties"]["observedGeneration"]["minimum"];
        assert_eq!(minimum.as_f64(), Some(-1.0), "{kind}");
    }
}

/// What the API server does before it validates.
fn apply_defaults(schema: &Value, value: &mut Value) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let Some(fields) = value.as_object_mut() else { return };
        if !property["default"].is_null() {
            fields.entry(name).or_insert_with(|| property["default"].clone());
        }
        if let Some(field) = fields.get_mut(name) {
            apply_defaults(property, field);
        }
    }
    for item in value.as_array_mut().into_iter().flatten() {
        apply_defaults(&schema["items"], item);
    }
}
