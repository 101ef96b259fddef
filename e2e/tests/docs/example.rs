//! Examples in the manual: what is YAML can be read, and what is of our kinds is taken by their types and their schema, with no
//! field that nobody knows. What only CEL can say is left to the API server.

use super::pages;
use anyhow::{Context, Result, bail, ensure};
use lodge_crds::{CronJob, Session, Workspace, definitions};
use serde_json::Value;

/// The code blocks of a language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let opening = format!("```{language}\n");
    let blocks = page.split(opening.as_str()).skip(1);
    blocks.filter_map(|rest| rest.split("\n```").next()).collect()
}

/// What is wrong with a value, by the parts of a structural schema that can be checked without CEL.
fn check(path: &str, schema: &Value, value: &Value) -> Result<()> {
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        return Ok(());
    }
    match value {
        Value::Object(fields) => check_object(path, schema, fields)?,
        Value::Array(items) => {
            ensure!(schema["type"] == "array", "{path} is no list");
            for (index, item) in items.iter().enumerate() {
                check(&format!("{path}[{index}]"), &schema["items"], item)?;
            }
        }
        scalar => {
            let is_free = schema["x-kubernetes-int-or-string"] == true;
            let fits = match schema["type"].as_str() {
                Some("string") => scalar.is_string(),
                Some("boolean") => scalar.is_boolean(),
                Some("integer") => scalar.is_i64() || scalar.is_u64(),
                Some(_) => false,
                None => true,
            };
            ensure!(is_free || fits, "{path} is {scalar}, which is no {}", schema["type"]);
        }
    }
    if let Some(values) = schema["enum"].as_array() {
        ensure!(values.contains(value), "{path} is {value}, which is none of {values:?}");
    }
    Ok(())
}

fn check_object(path: &str, schema: &Value, fields: &serde_json::Map<String, Value>) -> Result<()> {
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        ensure!(fields.contains_key(name), "{path}.{name} is missing");
    }
    for (name, value) in fields {
        let path = format!("{path}.{name}");
        match (schema["properties"].get(name), &schema["additionalProperties"]) {
            (Some(schema), _) => check(&path, schema, value)?,
            (None, Value::Object(_)) => check(&path, &schema["additionalProperties"], value)?,
            (None, _) => bail!("{path} is no field"),
        }
    }
    Ok(())
}

fn check_manifest(manifest: &Value) -> Result<()> {
    let kind = manifest["kind"].as_str().context("a kind")?;
    let definition = definitions().into_iter().find(|definition| definition.spec.names.kind == kind);
    let definition = serde_json::to_value(definition.with_context(|| format!("{kind} is no kind of ours"))?)?;
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    check("spec", &schema["properties"]["spec"], &manifest["spec"])?;
    ensure!(manifest["metadata"]["name"].is_string(), "the example has no name");
    match kind {
        "Workspace" => drop(serde_json::from_value::<Workspace>(manifest.clone())?),
        "Session" => drop(serde_json::from_value::<Session>(manifest.clone())?),
        "CronJob" => drop(serde_json::from_value::<CronJob>(manifest.clone())?),
        other => bail!("{other} has no type here"),
    }
    Ok(())
}

#[test]
fn examples_are_valid() -> Result<()> {
    let mut checked = 0;
    for (path, page) in pages()? {
        for block in blocks(&page, "yaml") {
            let name = format!("{}:\n{block}", path.display());
            for document in block.split("\n---\n") {
                let manifest: Value = serde_saphyr::from_str(document).with_context(|| name.clone())?;
                if manifest["apiVersion"] == "lodge.dev/v1alpha1" {
                    check_manifest(&manifest).with_context(|| name.clone())?;
                    checked += 1;
                }
            }
        }
        for block in blocks(&page, "json") {
            serde_json::from_str::<Value>(block).with_context(|| format!("{}:\n{block}", path.display()))?;
        }
    }
    assert!(checked >= 8, "only {checked} examples are found");
    Ok(())
}

#[test]
fn an_example_with_a_mistake_is_noticed() {
    let manifest = |spec: Value| {
        serde_json::json!({
            "apiVersion": "lodge.dev/v1alpha1", "kind": "Workspace", "metadata": {"name": "a"}, "spec": spec,
        })
    };
    check_manifest(&manifest(serde_json::json!({"power": "Auto", "limits": {"cpu": "2"}}))).unwrap();
    for spec in [
        serde_json::json!({"powers": "Auto"}),
        serde_json::json!({"power": "Off"}),
        serde_json::json!({"idle": {"sleepAfter": 5}}),
        serde_json::json!({"mounts": [{"tmpfs": {}}]}),
    ] {
        assert!(check_manifest(&manifest(spec.clone())).is_err(), "{spec}");
    }
}
