//! What the derives can't say about a schema, and the one function that finishes what they generate.
//!
//! Fields use the transforms of this module (`rules`, `list_map`, `duration_between`, …) in `#[schemars(transform = …)]`.
//! [`definitions`] is the only way to the finished definitions: `Workspace::crd()` and its siblings are the raw material
//! and lack the finish. Knows no kind but to list them; talks to no server.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};
use std::borrow::Cow;

use crate::{CronJob, Session, Workspace, duration};

/// The three custom resource definitions as they are to be installed.
///
/// The derives of kube and schemars get most of it right; this adds the rest:
/// - no `nullable`: an optional field is left out, as everywhere in Kubernetes, and a null becomes the default;
/// - no format that Kubernetes doesn't know (`uint32`): integers are `int32` or `int64` with bounds;
/// - a default that only repeats the defaults of its fields shrinks to `{}`, unless rules want to see the fields: the server
///   tries rules on defaults as they are written;
/// - descriptions are paragraphs, not lines;
/// - an object that the operator has not looked at yet has an `observedGeneration` that no generation equals: without any
///   status, kstatus (and with it Flux) would take it for done.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    let mut definitions = vec![Workspace::crd(), Session::crd(), CronJob::crd()];
    for version in definitions.iter_mut().flat_map(|definition| &mut definition.spec.versions) {
        if let Some(root) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            finish(root);
            begin_unobserved(root);
        }
    }
    definitions
}

/// Makes every status begin with [`UNOBSERVED`].
fn begin_unobserved(root: &mut JSONSchemaProps) {
    let Some(status) = root.properties.as_mut().and_then(|properties| properties.get_mut("status")) else {
        return;
    };
    status.default = Some(JSON(json!({ "observedGeneration": UNOBSERVED })));
    let observed = status.properties.as_mut().and_then(|properties| properties.get_mut("observedGeneration"));
    if let Some(observed) = observed {
        observed.minimum = Some(f64::from(UNOBSERVED));
        if let Some(description) = &mut observed.description {
            description.push_str(" -1 before it has looked for the first time.");
        }
    }
}

/// The `observedGeneration` of what nobody has looked at. Generations begin at 1.
const UNOBSERVED: i32 = -1;

/// Finishes a schema and everything below it.
fn finish(schema: &mut JSONSchemaProps) {
    if schema.x_kubernetes_validations.is_none() && repeats_defaults_of_fields(schema) {
        schema.default = Some(JSON(json!({})));
    }
    schema.nullable = None;
    schema.title = None;
    if let Some(values) = &mut schema.enum_ {
        values.retain(|value| !value.0.is_null());
    }
    schema.format = match schema.format.take().as_deref() {
        Some("uint8" | "uint16" | "int8" | "int16") => Some("int32".to_owned()),
        Some("uint32" | "uint64" | "uint") => Some("int64".to_owned()),
        other => other.map(str::to_owned),
    };
    if let Some(description) = &mut schema.description {
        let paragraphs: Vec<_> = description.split("\n\n").map(|lines| lines.replace('\n', " ")).collect();
        *description = paragraphs.join("\n\n");
    }
    schema.properties.iter_mut().flat_map(|properties| properties.values_mut()).for_each(finish);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        finish(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        finish(values);
    }
}

fn repeats_defaults_of_fields(schema: &JSONSchemaProps) -> bool {
    let (Some(JSON(Value::Object(default))), Some(properties)) = (&schema.default, &schema.properties) else {
        return false;
    };
    default.iter().all(|(name, value)| {
        let own = properties.get(name).and_then(|property| property.default.as_ref());
        own.is_some_and(|own| own.0 == *value)
    })
}

/// Adds CEL rules with their messages.
pub(crate) fn rules(rules: &'static [(&'static str, &'static str)]) -> impl FnMut(&mut Schema) {
    move |schema| {
        let added = rules.iter().map(|(rule, message)| json!({ "rule": rule, "message": message }));
        let list = schema.ensure_object().entry("x-kubernetes-validations").or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.extend(added);
        }
    }
}

/// Bounds a list, and makes its items be told apart by `key`, so that server-side apply merges them one by one.
pub(crate) fn list_map(key: &'static str, max_items: usize) -> impl FnMut(&mut Schema) {
    move |schema| {
        schema.insert("x-kubernetes-list-type".to_owned(), json!("map"));
        schema.insert("x-kubernetes-list-map-keys".to_owned(), json!([key]));
        schema.insert("maxItems".to_owned(), json!(max_items));
    }
}

/// Bounds a list that is replaced as a whole, because its order matters or its items have no name.
pub(crate) fn list_atomic(max_items: usize) -> impl FnMut(&mut Schema) {
    move |schema| {
        schema.insert("x-kubernetes-list-type".to_owned(), json!("atomic"));
        schema.insert("maxItems".to_owned(), json!(max_items));
    }
}

/// Bounds a list of strings, and each of them.
pub(crate) fn strings(max_items: usize, max_length: usize) -> impl FnMut(&mut Schema) {
    move |schema| {
        list_atomic(max_items)(schema);
        if let Some(Value::Object(items)) = schema.get_mut("items") {
            items.insert("maxLength".to_owned(), json!(max_length));
        }
    }
}

/// Bounds a map and its values.
pub(crate) fn map(max_properties: usize, max_length: usize) -> impl FnMut(&mut Schema) {
    move |schema| {
        schema.insert("maxProperties".to_owned(), json!(max_properties));
        if let Some(Value::Object(values)) = schema.get_mut("additionalProperties") {
            values.insert("maxLength".to_owned(), json!(max_length));
        }
    }
}

/// Bounds a string.
pub(crate) fn max_length(max_length: usize) -> impl FnMut(&mut Schema) {
    move |schema| {
        schema.insert("maxLength".to_owned(), json!(max_length));
    }
}

/// Bounds an integer. The derive knows only the bounds of its type.
pub(crate) fn range(min: i64, max: i64) -> impl FnMut(&mut Schema) {
    move |schema| {
        schema.insert("minimum".to_owned(), json!(min));
        schema.insert("maximum".to_owned(), json!(max));
    }
}

/// Bounds an integer of 64 bits from below.
pub(crate) fn at_least(min: i64) -> impl FnMut(&mut Schema) {
    move |schema| {
        schema.insert("minimum".to_owned(), json!(min));
    }
}

/// Bounds a duration. Shape and bounds are one rule, so that one mistake gets one message.
pub(crate) fn duration_between(min: &'static str, max: &'static str) -> impl FnMut(&mut Schema) {
    move |schema| {
        let rule = format!(
            "{} && duration(self) >= duration('{min}') && duration(self) <= duration('{max}')",
            duration::SHAPE
        );
        let message = format!(
            "must be a duration between {min} and {max}: whole hours, minutes, seconds and milliseconds in this order, \
             such as 1h30m, 15m or 10s"
        );
        schema.insert("x-kubernetes-validations".to_owned(), json!([{ "rule": rule, "message": message }]));
    }
}

/// Bounds a quantity.
pub(crate) fn quantity_between(min: &'static str, max: &'static str) -> impl FnMut(&mut Schema) {
    move |schema| {
        let rule = format!(
            "isQuantity(string(self)) && quantity(string(self)).compareTo(quantity('{min}')) >= 0 && \
             quantity(string(self)).compareTo(quantity('{max}')) <= 0"
        );
        let message = format!("must be a quantity between {min} and {max}");
        schema.insert("x-kubernetes-validations".to_owned(), json!([{ "rule": rule, "message": message }]));
    }
}

/// Stands for `k8s_openapi`'s `Time` in schemas.
pub(crate) struct TimeSchema;

impl JsonSchema for TimeSchema {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// Stands for an object of any shape in schemas, such as a JSON Schema.
pub(crate) struct AnyObjectSchema;

impl JsonSchema for AnyObjectSchema {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "AnyObject".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true, "maxProperties": 256 })
    }
}
