//! Links between pages: the file exists, and has the heading.

use super::{pages, root};
use anyhow::Result;
use std::{fs, path::Path};

/// As forges make anchors of headings.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | ' '));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(page: &str) -> Vec<String> {
    page.lines().filter(|line| line.starts_with('#')).map(anchor).collect()
}

/// The targets of a page's links, outside of code.
fn targets(page: &str) -> Vec<&str> {
    let prose = page.split("```").step_by(2);
    prose.flat_map(|text| text.split("](").skip(1)).filter_map(|rest| rest.split(')').next()).collect()
}

#[test]
fn links_lead_to_pages_and_headings_that_exist() -> Result<()> {
    let mut broken = Vec::new();
    for (path, page) in pages()? {
        let folder = root().join(path.parent().unwrap_or(Path::new("")));
        for target in targets(&page).into_iter().filter(|target| !target.contains("://")) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let linked = if file.is_empty() { root().join(&path) } else { folder.join(file) };
            if !linked.exists() {
                broken.push(format!("{}: {target}: no such file", path.display()));
            } else if !heading.is_empty()
                && !anchors(&fs::read_to_string(&linked)?).iter().any(|a| a == heading)
            {
                broken.push(format!("{}: {target}: no such heading", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    Ok(())
}

#[test]
fn every_page_of_the_manual_is_in_its_index() -> Result<()> {
    let index = fs::read_to_string(root().join("docs/README.md"))?;
    let targets = targets(&index);
    for (path, _) in pages()? {
        let Ok(name) = path.strip_prefix("docs") else { continue };
        let name = name.display().to_string();
        assert!(
            name == "README.md" || targets.contains(&name.as_str()),
            "docs/README.md has no link to {name}"
        );
    }
    Ok(())
}
