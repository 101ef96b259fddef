//! Definitions as pages for people: what `docs/reference` holds of each kind.
//!
//! Made from the schema alone, like `kubectl explain`, so that it can't say anything else. A section for each object, a row
//! for each field, and the rules that the API server holds them against.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use std::fmt::Write;

/// Writes a definition as a page of Markdown.
pub fn to_reference(definition: &CustomResourceDefinition) -> String {
    let names = &definition.spec.names;
    let mut page = format!("# {}\n\n", names.kind);
    let _ = writeln!(page, "<!-- Generated from the crate crds by `make docs`: change the types. -->\n");
    for version in &definition.spec.versions {
        let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        let Some(schema) = schema else { continue };
        let _ = writeln!(page, "{}\n", schema.description.as_deref().unwrap_or_default());
        let _ = writeln!(
            page,
            "`apiVersion: {}/{}`, `kind: {}`; for kubectl `{}.{}`, in short `{}`.",
            definition.spec.group,
            version.name,
            names.kind,
            names.plural,
            definition.spec.group,
            names.short_names.iter().flatten().map(String::as_str).collect::<Vec<_>>().join("`, `"),
        );
        write_selectors(&mut page, version.selectable_fields.iter().flatten().map(|field| &*field.json_path));
        write_rules(&mut page, schema);
        for part in ["spec", "status"] {
            let property = schema.properties.iter().flatten().find(|(name, _)| *name == part);
            if let Some((_, schema)) = property {
                write_section(&mut page, part, schema);
            }
        }
    }
    page
}

fn write_selectors<'a>(page: &mut String, paths: impl Iterator<Item = &'a str>) {
    let paths: Vec<_> = paths.map(|path| format!("`{}`", path.trim_start_matches('.'))).collect();
    if !paths.is_empty() {
        let _ = writeln!(page, "\nField selectors: {}.", paths.join(", "));
    }
}

/// A section for the object at `path`, then those of the objects below it.
fn write_section(page: &mut String, path: &str, schema: &JSONSchemaProps) {
    let level = if path.contains('.') { "###" } else { "##" };
    let _ = writeln!(page, "\n{level} {path}\n");
    if let Some(description) = &schema.description {
        let _ = writeln!(page, "{description}\n");
    }
    let Some(properties) = &schema.properties else { return };
    let _ = writeln!(page, "| field | type | what it is |\n|---|---|---|");
    for (name, property) in properties {
        let is_required = schema.required.iter().flatten().any(|required| required == name);
        let required = if is_required { " **required**" } else { "" };
        let _ = writeln!(
            page,
            "| `{name}`{required} | {} | {} |",
            type_of(&below(path, name), property),
            words(property)
        );
    }
    write_rules(page, schema);
    for (name, property) in properties {
        let path = below(path, name);
        if let Some((suffix, object)) = object_in(property) {
            write_section(page, &format!("{path}{suffix}"), object);
        }
    }
}

fn below(path: &str, name: &str) -> String {
    format!("{path}.{name}")
}

/// The object with fields that the schema is, or is a list or map of, and what its path gets for that.
fn object_in(schema: &JSONSchemaProps) -> Option<(&'static str, &JSONSchemaProps)> {
    let (suffix, object) = if let Some(item) = item(schema) {
        ("[]", item)
    } else if let Some(value) = value(schema) {
        ("{}", value)
    } else {
        ("", schema)
    };
    object.properties.as_ref().is_some_and(|properties| !properties.is_empty()).then_some((suffix, object))
}

fn item(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match schema.items.as_ref()? {
        JSONSchemaPropsOrArray::Schema(item) => Some(item),
        JSONSchemaPropsOrArray::Schemas(items) => items.first(),
    }
}

fn value(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match schema.additional_properties.as_ref()? {
        JSONSchemaPropsOrBool::Schema(value) => Some(value),
        JSONSchemaPropsOrBool::Bool(_) => None,
    }
}

/// The type of a field, with a link to the section of its fields.
fn type_of(path: &str, schema: &JSONSchemaProps) -> String {
    let link = |text: &str, suffix: &str| match object_in(schema) {
        Some(_) => format!("[{text}](#{})", anchor(&format!("{path}{suffix}"))),
        None => text.to_owned(),
    };
    if let Some(item) = item(schema) {
        let of = item.type_.as_deref().unwrap_or("any");
        return link(&format!("list of {of}"), "[]");
    }
    if let Some(value) = value(schema) {
        return link(&format!("map to {}", value.type_.as_deref().unwrap_or("any")), "{}");
    }
    if schema.x_kubernetes_int_or_string == Some(true) {
        return "integer or string".to_owned();
    }
    match (schema.type_.as_deref(), schema.format.as_deref()) {
        (Some("string"), Some("date-time")) => "time".to_owned(),
        (Some("object"), _) => link("object", ""),
        (Some(name), _) => name.to_owned(),
        (None, _) => "any".to_owned(),
    }
}

/// As forges make anchors of headings: letters, digits, `-` and `_`, in lower case.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
    kept.flat_map(char::to_lowercase).collect()
}

/// The description, and what else the schema demands of the value.
fn words(schema: &JSONSchemaProps) -> String {
    let mut parts: Vec<_> = schema.description.iter().cloned().collect();
    let values: Vec<_> = schema.enum_.iter().flatten().map(|value| format!("`{}`", value.0)).collect();
    if !values.is_empty() {
        parts.push(format!("One of {}.", values.join(", ").replace('"', "")));
    }
    if let Some(bounds) = bounds(schema) {
        parts.push(bounds);
    }
    if object_in(schema).is_none() {
        let rules = schema.x_kubernetes_validations.iter().flatten().filter_map(|rule| rule.message.as_ref());
        parts.extend(rules.map(|message| format!("*{message}.*")));
    }
    parts.join(" ").replace('|', "\\|").replace('\n', " ")
}

/// How long or how large the value may be.
fn bounds(schema: &JSONSchemaProps) -> Option<String> {
    let number = |value: f64| format!("{value}");
    let (least, most, of) = match schema.type_.as_deref()? {
        "array" => (schema.min_items, schema.max_items, " items"),
        "string" => (schema.min_length.filter(|least| *least > 1), schema.max_length, " characters"),
        "object" => (schema.min_properties, schema.max_properties, " entries"),
        "integer" => {
            return match (schema.minimum.map(number), schema.maximum.map(number)) {
                (Some(least), Some(most)) => Some(format!("{least} to {most}.")),
                (Some(least), None) => Some(format!("At least {least}.")),
                (None, Some(most)) => Some(format!("At most {most}.")),
                (None, None) => None,
            };
        }
        _ => return None,
    };
    match (least, most) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}{of}.")),
        (Some(least), None) => Some(format!("At least {least}{of}.")),
        (None, Some(most)) => Some(format!("At most {most}{of}.")),
        (None, None) => None,
    }
}

/// The rules that the API server holds the object against.
fn write_rules(page: &mut String, schema: &JSONSchemaProps) {
    let rules = schema.x_kubernetes_validations.iter().flatten();
    let messages: Vec<_> = rules.filter_map(|rule| rule.message.as_deref()).collect();
    if messages.is_empty() {
        return;
    }
    let _ = writeln!(page, "\nRules:\n");
    for message in messages {
        let _ = writeln!(page, "- {message}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_row_and_every_link_leads_to_a_section() {
        for definition in crate::definitions() {
            let page = to_reference(&definition);
            let anchors: Vec<_> = page
                .lines()
                .filter_map(|line| line.strip_prefix("## ").or_else(|| line.strip_prefix("### ")))
                .map(anchor)
                .collect();
            for link in page.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
                assert!(anchors.iter().any(|anchor| anchor == link), "#{link} leads nowhere");
            }
            assert!(page.contains("| `conditions` | [list of object](#statusconditions) |"), "{page}");
        }
    }

    #[test]
    fn a_row_tells_bounds_values_and_whether_the_field_is_required() {
        let schema: JSONSchemaProps = serde_json::from_value(serde_json::json!({
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "description": "A | name.", "maxLength": 63},
                "power": {"type": "string", "description": "How.", "enum": ["On", "Off"]},
                "count": {"type": "integer", "minimum": 1.0, "maximum": 9.0},
            },
        }))
        .unwrap();
        let mut page = String::new();
        write_section(&mut page, "spec", &schema);
        for row in [
            "| `name` **required** | string | A \\| name. At most 63 characters. |",
            "| `power` | string | How. One of `On`, `Off`. |",
            "| `count` | integer | 1 to 9. |",
        ] {
            assert!(page.contains(row), "{row}\n{page}");
        }
    }
}
