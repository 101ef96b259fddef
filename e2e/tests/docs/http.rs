//! The page of the HTTP API, made from the OpenAPI document and from the permissions that the gateway asks for.

use super::root;
use anyhow::{Context, Result};
use e2e::command::{command, run};
use serde_json::{Map, Value};
use std::{fmt::Write as _, fs};
use vm_api::area::Area;

/// What a path of the document begins with, if it is about one workspace.
const WORKSPACE: &str = "/v1/workspaces/{uid}/";
/// The order of methods.
const METHODS: [&str; 6] = ["get", "head", "put", "patch", "post", "delete"];

fn document() -> Result<Value> {
    let binary = root().join(".local/bin/vm-runner");
    Ok(serde_json::from_str(&run(&mut command(binary, ["openapi"]))?.success()?)?)
}

/// The page.
fn page(document: &Value) -> Result<String> {
    let mut page =
        String::from("# HTTP API\n\n<!-- Generated from `vm-runner openapi` by `make docs`. -->\n\n");
    writeln!(page, "{}\n", text(&document["info"]["description"]))?;
    page.push_str(BASE);
    let empty = Map::new();
    let paths = document["paths"].as_object().unwrap_or(&empty);
    for tag in document["tags"].as_array().context("tags")? {
        let operations: Vec<_> = operations(paths)
            .filter(|(path, _, operation)| operation["tags"][0] == tag["name"] && path.starts_with(WORKSPACE))
            .collect();
        if operations.is_empty() {
            continue;
        }
        writeln!(page, "\n## {}\n\n{}", text(&tag["name"]), text(&tag["description"]))?;
        for (path, method, operation) in operations {
            write_operation(&mut page, path, method, operation)?;
        }
    }
    write_runner(&mut page, paths)?;
    write_types(&mut page, document)?;
    write_problems(&mut page, document)?;
    Ok(page)
}

const BASE: &str = "\
At the gateway every path below is one below `/v1/namespaces/{namespace}/workspaces/{name}/`. Send a bearer token of the \
cluster in `Authorization`, or show a client certificate of the cluster. Each operation names the permission that the user \
needs, as RBAC writes it; [rbac.md](../rbac.md) has recipes. The same as an OpenAPI document: `GET /openapi.json` at the gateway, with \
credentials, or `vm-runner openapi`.
";

fn operations(paths: &Map<String, Value>) -> impl Iterator<Item = (&str, &str, &Value)> {
    paths.iter().flat_map(|(path, methods)| {
        METHODS.iter().filter_map(move |method| Some((path.as_str(), *method, methods.get(*method)?)))
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn write_operation(page: &mut String, path: &str, method: &str, operation: &Value) -> Result<()> {
    let area = path.trim_start_matches(WORKSPACE);
    let method = method.to_uppercase();
    writeln!(page, "\n### {method} {area}\n\n{}", text(&operation["summary"]))?;
    let permission = Area::parse(area, &method).ok().and_then(|area| area.permission(&method));
    match permission {
        Some(permission) => {
            writeln!(page, "\nPermission: `{} workspaces/{}`.", permission.verb, permission.subresource)?
        }
        None => writeln!(page, "\nFor Lodge's operator only.")?,
    }
    if operation["description"].is_string() {
        writeln!(page, "\n{}", text(&operation["description"]))?;
    }
    write_parameters(page, operation)?;
    if let Some(contents) = operation["requestBody"]["content"].as_object() {
        writeln!(page, "\nBody: {}.", contents_of(contents))?;
        write_example(page, contents)?;
    }
    let mut codes = Vec::new();
    writeln!(page, "\n| status | answer |\n|---|---|")?;
    for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
        let problems = answer["x-problem-codes"].as_array();
        codes.extend(problems.into_iter().flatten().map(|code| format!("`{}`", text(code))));
        if problems.is_none() && status != "default" {
            let contents = answer["content"].as_object().map(contents_of);
            let contents = contents.map(|contents| format!(" {contents}.")).unwrap_or_default();
            writeln!(page, "| {status} | {}{contents} |", cell(text(&answer["description"])))?;
        }
    }
    if let Some(messages) = operation["x-messages"].as_array() {
        let names: Vec<_> = messages.iter().map(|message| type_of(&message["schema"])).collect();
        writeln!(page, "\nMessages: {}.", names.join(", "))?;
    }
    writeln!(page, "\nProblems: {}.", codes.join(", "))?;
    Ok(())
}

fn write_parameters(page: &mut String, operation: &Value) -> Result<()> {
    let parameters: Vec<_> = operation["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|parameter| parameter["name"] != "uid")
        .collect();
    if parameters.is_empty() {
        return Ok(());
    }
    writeln!(page, "\n| parameter | in | what it is |\n|---|---|---|")?;
    for parameter in parameters {
        writeln!(
            page,
            "| `{}` | {} | {} |",
            text(&parameter["name"]),
            text(&parameter["in"]),
            cell(text(&parameter["description"]))
        )?;
    }
    Ok(())
}

/// Types by media type.
fn contents_of(contents: &Map<String, Value>) -> String {
    let describe = |(media_type, content): (&String, &Value)| match type_of(&content["schema"]).as_str() {
        "any" | "string" => format!("`{media_type}`"),
        name => format!("{name} (`{media_type}`)"),
    };
    contents.iter().map(describe).collect::<Vec<_>>().join(", ")
}

fn write_example(page: &mut String, contents: &Map<String, Value>) -> Result<()> {
    if let Some(example) = contents.values().find_map(|content| content["examples"]["example1"].get("value"))
    {
        writeln!(page, "\n```json\n{example:#}\n```")?;
    }
    Ok(())
}

/// A type in words, with a link if it has a name.
fn type_of(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if schema["type"] == "array" {
        return format!("list of {}", type_of(&schema["items"]));
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(choices) = schema[key].as_array() {
            let choices: Vec<_> =
                choices.iter().filter(|choice| choice["type"] != "null").map(type_of).collect();
            return choices.join(" or ");
        }
    }
    if let Some(value) = schema.get("const") {
        return format!("`{value}`");
    }
    if schema["additionalProperties"].is_object() {
        return format!("map to {}", type_of(&schema["additionalProperties"]));
    }
    match &schema["type"] {
        Value::String(name) => name.clone(),
        Value::Array(names) => names
            .iter()
            .map(text)
            .filter(|name| *name != "null")
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .join(" or "),
        _ => "any".to_owned(),
    }
}

/// What only Lodge itself asks of a runner.
fn write_runner(page: &mut String, paths: &Map<String, Value>) -> Result<()> {
    writeln!(
        page,
        "\n## At a runner\n\nNot reachable through the gateway: for the operator, Kubernetes and Prometheus.\n"
    )?;
    writeln!(page, "| operation | what it is |\n|---|---|")?;
    for (path, method, operation) in operations(paths).filter(|(path, ..)| !path.starts_with(WORKSPACE)) {
        writeln!(page, "| `{} {path}` | {} |", method.to_uppercase(), cell(text(&operation["summary"])))?;
    }
    Ok(())
}

fn write_types(page: &mut String, document: &Value) -> Result<()> {
    writeln!(page, "\n## Types")?;
    for (name, schema) in document["components"]["schemas"].as_object().context("schemas")? {
        writeln!(page, "\n### {name}\n\n{}", text(&schema["description"]))?;
        let choices = schema["oneOf"].as_array();
        match choices {
            Some(choices) if choices.iter().all(|choice| choice.get("const").is_some()) => {
                writeln!(page)?;
                for choice in choices {
                    writeln!(page, "- `{}`: {}", text(&choice["const"]), text(&choice["description"]))?;
                }
            }
            Some(choices) => {
                for choice in choices {
                    let kind = text(&choice["properties"]["type"]["const"]);
                    let as_in = choice.get("$ref").map(|_| format!(" Fields as in {}.", type_of(choice)));
                    let title = if kind.is_empty() { type_of(choice) } else { format!("`{kind}`") };
                    writeln!(
                        page,
                        "\n{title}: {}{}",
                        text(&choice["description"]),
                        as_in.unwrap_or_default()
                    )?;
                    write_fields(page, choice)?;
                }
            }
            None => write_fields(page, schema)?,
        }
    }
    Ok(())
}

fn write_fields(page: &mut String, schema: &Value) -> Result<()> {
    let fields: Vec<_> = schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, field)| field.get("const").is_none())
        .collect();
    if fields.is_empty() {
        return Ok(());
    }
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().map(text).collect();
    writeln!(page, "\n| field | type | what it is |\n|---|---|---|")?;
    for (name, field) in fields {
        let mark = if required.contains(&name.as_str()) { " **required**" } else { "" };
        writeln!(page, "| `{name}`{mark} | {} | {} |", type_of(field), cell(text(&field["description"])))?;
    }
    Ok(())
}

fn write_problems(page: &mut String, document: &Value) -> Result<()> {
    writeln!(page, "\n## Problems\n\n| code | status | meaning | way out |\n|---|---|---|---|")?;
    for problem in document["x-problem-codes"].as_array().context("codes")? {
        let [code, meaning, way_out] = ["code", "meaning", "wayOut"].map(|key| cell(text(&problem[key])));
        writeln!(page, "| `{code}` | {} | {meaning} | {way_out} |", problem["status"])?;
    }
    Ok(())
}

#[test]
#[ignore = "needs .local/bin/vm-runner: make test runs it"]
fn the_page_of_the_http_api_is_generated_from_the_document() -> Result<()> {
    let path = root().join("docs/reference/http.md");
    let page = page(&document()?)?;
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &page)?;
    }
    let held = fs::read_to_string(&path).unwrap_or_default();
    assert!(held == page, "docs/reference/http.md is out of date: run `make docs`");
    Ok(())
}

#[test]
fn an_operation_tells_its_permission_its_body_and_its_problems() -> Result<()> {
    let document = serde_json::json!({
        "info": {"description": "All."},
        "tags": [{"name": "exec", "description": "Commands."}],
        "paths": {"/v1/workspaces/{uid}/exec": {"post": {
            "tags": ["exec"], "summary": "Run it.", "parameters": [{"name": "uid"}, {"name": "Accept", "in": "header", "description": "How."}],
            "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/ExecRequest"}}}},
            "responses": {
                "200": {"description": "It ended.", "content": {"application/json": {"schema": {"type": "object"}}}},
                "404": {"description": "Problem.", "x-problem-codes": ["command-not-found"]},
            },
        }}, "/healthz": {"get": {"tags": ["probes"], "summary": "Lives."}}},
        "components": {"schemas": {"ExecRequest": {"description": "A command.", "required": ["command"],
            "properties": {"command": {"type": ["string", "null"], "description": "A | B."}}}}},
        "x-problem-codes": [{"code": "command-not-found", "status": 404, "meaning": "None.", "wayOut": "Look."}],
    });
    let page = page(&document)?;
    for line in [
        "### POST exec",
        "Permission: `create workspaces/exec`.",
        "| `Accept` | header | How. |",
        "Body: [ExecRequest](#execrequest) (`application/json`).",
        "| 200 | It ended. object (`application/json`). |",
        "Problems: `command-not-found`.",
        "| `GET /healthz` | Lives. |",
        "| `command` **required** | string | A \\| B. |",
        "| `command-not-found` | 404 | None. | Look. |",
    ] {
        assert!(page.contains(line), "{line} is missing in\n{page}");
    }
    Ok(())
}
