//! Values: each has a type, a description and an effect.

use super::{VALUES, chart, render, root, values_file};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{collections::BTreeMap, collections::BTreeSet, fs, thread};

fn yaml(path: &str) -> Result<Value> {
    let text = fs::read_to_string(root().join(path)).with_context(|| path.to_owned())?;
    serde_saphyr::from_str(&text).with_context(|| path.to_owned())
}

fn schema() -> Result<Value> {
    Ok(serde_json::from_str(&fs::read_to_string(chart().join("values.schema.json"))?)?)
}

/// The paths of the schema's leaves, but for `global`, which is Helm's.
fn leaves(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if child["properties"].is_object() && path != "gateway.certificate.issuerRef" {
            leaves(child, &path, found);
        } else if path != "global" {
            found.insert(path);
        }
    }
}

fn at<'a>(values: &'a Value, path: &str) -> Option<&'a Value> {
    values.pointer(&format!("/{}", path.replace('.', "/")))
}

/// The values without one of them.
fn without(values: &Value, path: &str) -> Value {
    let mut values = values.clone();
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    let parent = if parent.is_empty() { String::new() } else { format!("/{}", parent.replace('.', "/")) };
    if let Some(map) = values.pointer_mut(&parent).and_then(Value::as_object_mut) {
        map.remove(name);
    }
    values
}

#[test]
fn the_schema_knows_every_value_and_no_other() -> Result<()> {
    let mut known = BTreeSet::new();
    leaves(&schema()?, "", &mut known);
    let values = yaml("charts/lodge/values.yaml")?;
    for path in &known {
        assert!(at(&values, path).is_some(), "values.yaml lacks {path}, which the schema knows");
    }
    let described: BTreeSet<_> = described_values()?.into_iter().map(|(path, ..)| path).collect();
    let difference: Vec<_> = known.symmetric_difference(&described).collect();
    assert!(
        difference.is_empty(),
        "described with `# --` in values.yaml, or in the schema, but not both: {difference:?}"
    );
    Ok(())
}

#[test]
#[ignore = "needs helm: make test runs it"]
fn every_value_has_an_effect() -> Result<()> {
    let mut unused = BTreeSet::new();
    leaves(&schema()?, "", &mut unused);
    let folder = tempfile::tempdir()?;
    let mut differences = BTreeMap::new();
    for name in VALUES {
        let file = values_file(name);
        let values = yaml(&file)?;
        let whole = render(&[&file])?;
        let paths: Vec<_> = unused.iter().filter(|path| at(&values, path).is_some()).cloned().collect();
        let (folder, values, whole) = (folder.path(), &values, &whole);
        let differs = |path: &String| -> Result<bool> {
            let file = folder.join(format!("{name}-{path}.yaml"));
            fs::write(&file, without(values, path).to_string())?;
            let less = render(&[file.to_str().context("a path")?]);
            // What can't be left out has an effect, too.
            Ok(less.map_or(true, |less| less != *whole))
        };
        // Two at a time: Helm takes a tenth of a second for each.
        let halves: Vec<Result<Vec<bool>>> = thread::scope(|scope| {
            let differs = &differs;
            let half = paths.len().div_ceil(2).max(1);
            let threads: Vec<_> = paths
                .chunks(half)
                .map(|paths| scope.spawn(move || paths.iter().map(differs).collect()))
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let answers = halves.into_iter().collect::<Result<Vec<_>>>()?.concat();
        differences.extend(paths.into_iter().zip(answers).filter(|(_, differs)| *differs));
        unused.retain(|path| !differences.contains_key(path));
    }
    assert!(
        unused.is_empty(),
        "these values change nothing, or no file of charts/lodge/tests sets them to other than their default: {unused:#?}"
    );
    Ok(())
}

/// Path, default and description of each value, as the comments of values.yaml say.
fn described_values() -> Result<Vec<(String, String, String)>> {
    let text = fs::read_to_string(chart().join("values.yaml"))?;
    let (mut path, mut words): (Vec<(usize, &str)>, Vec<&str>) = (Vec::new(), Vec::new());
    let mut rows = Vec::new();
    for line in text.lines() {
        let content = line.trim_start();
        let depth = line.len() - content.len();
        if let Some(first) = content.strip_prefix("# -- ") {
            words = vec![first];
        } else if let Some(more) = content.strip_prefix("# ") {
            if !words.is_empty() {
                words.push(more);
            }
        } else if let Some((name, value)) = content.split_once(':') {
            path.retain(|(above, _)| *above < depth);
            path.push((depth, name));
            if !words.is_empty() {
                let names: Vec<_> = path.iter().map(|(_, name)| *name).collect();
                let value = if value.trim().is_empty() { "see values.yaml" } else { value.trim() };
                rows.push((names.join("."), value.to_owned(), words.join(" ")));
            }
            words.clear();
        } else {
            words.clear();
        }
    }
    ensure!(rows.len() > 100, "only {} values are described", rows.len());
    Ok(rows)
}

#[test]
fn the_readmes_table_of_values_is_that_of_the_chart() -> Result<()> {
    const BEGIN: &str = "| value | default | what it is |\n|---|---|---|\n";
    let path = chart().join("README.md");
    let readme = fs::read_to_string(&path)?;
    let start = readme.find(BEGIN).context("the README has no table of values")? + BEGIN.len();
    let length = readme[start..].find("\n\n").context("the table has an end")? + 1;
    let rows: String = described_values()?
        .iter()
        .map(|(name, value, description)| {
            format!("| `{name}` | `{value}` | {} |\n", description.replace('|', "\\|"))
        })
        .collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, format!("{}{rows}{}", &readme[..start], &readme[start + length..]))?;
        return Ok(());
    }
    assert_eq!(
        &readme[start..start + length],
        rows,
        "make docs writes the table of charts/lodge/README.md anew"
    );
    Ok(())
}
