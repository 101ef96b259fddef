//! The manual in `docs/`: what is generated is up to date, examples are valid, links lead somewhere, and what it says of conditions,
//! arguments and packages is true of the code.
//!
//! `UPDATE_GOLDEN=1` (`make docs`) writes the page of the HTTP API from the document that `vm-runner openapi` prints.

#![cfg(test)]

#[path = "docs/example.rs"]
mod example;
#[path = "docs/http.rs"]
mod http;
#[path = "docs/link.rs"]
mod link;

use anyhow::{Context, Result};
use e2e::command::{command, run};
use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every page, and the README of every part, with its path below the root.
fn pages() -> Result<Vec<(PathBuf, String)>> {
    let mut pages = Vec::new();
    for folder in [
        "",
        "docs",
        "docs/reference",
        "charts/lodge",
        "charts/lodge-crds",
        "operator",
        "operator/gateway",
        "vm-runner",
    ] {
        for entry in fs::read_dir(root().join(folder)).with_context(|| folder.to_owned())? {
            let name = PathBuf::from(folder).join(entry?.file_name());
            if name.extension().is_some_and(|extension| extension == "md") {
                pages.push((name.clone(), fs::read_to_string(root().join(&name))?));
            }
        }
    }
    pages.sort();
    Ok(pages)
}

#[test]
fn the_pages_of_the_kinds_are_generated_from_the_types() -> Result<()> {
    for definition in lodge_crds::definitions() {
        let name = format!("docs/reference/{}.md", definition.spec.names.plural);
        let held = fs::read_to_string(root().join(&name)).unwrap_or_default();
        assert!(held == lodge_crds::to_reference(&definition), "{name} is out of date: run `make docs`");
    }
    Ok(())
}

#[test]
fn every_reason_of_a_condition_is_explained() -> Result<()> {
    let source = fs::read_to_string(root().join("crds/src/condition.rs"))?;
    let manual = fs::read_to_string(root().join("docs/operations.md"))?;
    let module = source.split("pub mod reason {").nth(1).context("the reasons")?;
    let reasons: Vec<_> =
        module.lines().filter_map(|line| line.trim().strip_prefix("pub const ")?.split('"').nth(1)).collect();
    assert!(reasons.len() > 40, "only {} reasons are found", reasons.len());
    let missing: Vec<_> = reasons.iter().filter(|reason| !manual.contains(&format!("`{reason}`"))).collect();
    assert!(missing.is_empty(), "docs/operations.md doesn't explain {missing:?}");
    Ok(())
}

#[test]
#[ignore = "needs .local/bin/kubectl-lodge: make test runs it"]
fn every_command_of_the_plugin_is_in_its_page() -> Result<()> {
    let page = fs::read_to_string(root().join("docs/kubectl-lodge.md"))?;
    let help = run(&mut command(root().join(".local/bin/kubectl-lodge"), ["--help"]))?.success()?;
    let list =
        help.split("\nCommands:\n").nth(1).context("the commands")?.split("\n\n").next().unwrap_or_default();
    let is_command = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let names = list.lines().filter(is_command).filter_map(|line| line.split_whitespace().next());
    for name in names.filter(|name| *name != "help") {
        let is_there =
            [format!("`{name}`"), format!("`{name} ")].iter().any(|name| page.contains(name.as_str()));
        assert!(is_there, "docs/kubectl-lodge.md doesn't tell of {name}");
    }
    Ok(())
}
