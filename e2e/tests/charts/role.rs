//! Roles: the gateway writes nothing, every rule has a reason, and users have exactly the virtual subresources of the gateway.

use super::{chart, object, objects, render};
use anyhow::{Context, Result};
use serde_json::Value;
use std::{collections::BTreeSet, fs};

/// What may be done inside a workspace: subresource and verb.
const INSIDE: [(&str, &str); 13] = [
    ("exec", "create"),
    ("files", "get"),
    ("files", "update"),
    ("processes", "get"),
    ("processes", "create"),
    ("processes", "update"),
    ("shells", "get"),
    ("shells", "create"),
    ("shells", "update"),
    ("shells", "delete"),
    ("events", "get"),
    ("power", "get"),
    ("power", "update"),
];
/// The rest of it.
const INSIDE_TOO: [(&str, &str); 2] = [("fetch", "create"), ("runs", "get")];

/// Subresource of workspaces and verb, but for the status.
fn inside(role: &Value) -> Result<BTreeSet<(String, String)>> {
    let mut granted = BTreeSet::new();
    for rule in role["rules"].as_array().context("rules")? {
        for resource in rule["resources"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let Some(("workspaces", part)) = resource.split_once('/').filter(|(_, part)| *part != "status")
            else {
                continue;
            };
            let verbs = rule["verbs"].as_array().into_iter().flatten().filter_map(Value::as_str);
            granted.extend(verbs.map(|verb| (part.to_owned(), verb.to_owned())));
        }
    }
    Ok(granted)
}

#[test]
#[ignore = "needs helm: make test runs it"]
fn edit_and_admin_do_everything_inside_and_view_nothing() -> Result<()> {
    let rendered = objects(&render(&[])?)?;
    let all: BTreeSet<_> = INSIDE
        .iter()
        .chain(&INSIDE_TOO)
        .map(|(part, verb)| ((*part).to_owned(), (*verb).to_owned()))
        .collect();
    for (name, expected) in
        [("lodge-view", BTreeSet::new()), ("lodge-edit", all.clone()), ("lodge-admin", all)]
    {
        assert_eq!(inside(object(&rendered, "ClusterRole", name)?)?, expected, "{name}");
    }
    let view = object(&rendered, "ClusterRole", "lodge-view")?["rules"].to_string();
    for verb in ["create", "update", "patch", "delete"] {
        assert!(!view.contains(verb), "lodge-view may {verb}");
    }
    Ok(())
}

#[test]
#[ignore = "needs helm: make test runs it"]
fn the_gateway_may_write_nothing_and_every_rule_has_its_reason() -> Result<()> {
    let rendered = objects(&render(&[])?)?;
    let role = object(&rendered, "ClusterRole", "lodge-gateway")?.to_string();
    for verb in ["update", "patch", "delete"] {
        assert!(!role.contains(verb), "the gateway may {verb}");
    }
    for file in ["operator-rbac.yaml", "gateway-rbac.yaml"] {
        let text = fs::read_to_string(chart().join("templates").join(file))?;
        let lines: Vec<_> = text.lines().collect();
        for (number, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("- apiGroups")) {
            let before = number.checked_sub(1).and_then(|above| lines.get(above)).unwrap_or(&"");
            assert!(before.starts_with('#'), "{file}:{}: `{line}` has no reason above it", number + 1);
        }
    }
    Ok(())
}
