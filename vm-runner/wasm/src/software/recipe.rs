//! `packages.json`: the declarative half of the software build. It names the trees (published package files and
//! folders) and the packages that are made of them.

use std::path::Path;

use serde::Deserialize;

use super::place;
use crate::error::{Error, Result};

/// What to build.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recipe {
    pub(super) trees: Vec<TreeRecipe>,
    pub(super) packages: Vec<PackageRecipe>,
}

/// A published package file or folder of programs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TreeRecipe {
    /// Name of the npm package.
    pub(super) name: String,
    /// File or folder in it.
    pub(super) from: String,
}

/// A package that a workspace can name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PackageRecipe {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) license: String,
    pub(super) parts: Vec<PartRecipe>,
}

/// What a package takes from a tree.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PartRecipe {
    pub(super) tree: String,
    /// Absent: all commands.
    #[serde(default)]
    pub(super) commands: Vec<String>,
}

impl Recipe {
    /// Reads and checks a recipe.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let path = path.to_owned();
        let bytes = place::read(&path)?;
        let recipe: Self = serde_json::from_slice(&bytes)
            .map_err(|error| Error::Format { path: path.clone(), reason: error.to_string() })?;
        recipe.check().map_err(|reason| Error::Format { path, reason })?;
        Ok(recipe)
    }

    /// The commands that packages take from a tree; `None` when one takes them all.
    pub(super) fn commands_of(&self, tree: &str) -> Option<Vec<&str>> {
        let mut commands = Vec::new();
        for part in self.packages.iter().flat_map(|package| &package.parts) {
            if part.tree != tree {
                continue;
            }
            if part.commands.is_empty() {
                return None;
            }
            commands.extend(part.commands.iter().map(String::as_str));
        }
        commands.sort_unstable();
        commands.dedup();
        Some(commands)
    }

    fn check(&self) -> Result<(), String> {
        for package in &self.packages {
            for part in &package.parts {
                if !self.trees.iter().any(|tree| tree.name == part.tree) {
                    return Err(format!("package {} names the unknown tree {}", package.name, part.tree));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(json: &str) -> Recipe {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_package_of_an_unknown_tree_is_refused() {
        let error = recipe(
            r#"{"trees": [], "packages": [{"name": "p", "description": "", "license": "", "parts": [{"tree": "t"}]}]}"#,
        )
        .check()
        .unwrap_err();
        assert_eq!(error, "package p names the unknown tree t");
    }

    #[test]
    fn the_commands_of_a_tree_are_those_of_all_packages() {
        let recipe = recipe(
            r#"{"trees": [{"name": "t", "from": "c"}, {"name": "u", "from": "c"}], "packages": [
                {"name": "p", "description": "", "license": "", "parts": [{"tree": "t", "commands": ["b", "a"]}]},
                {"name": "q", "description": "", "license": "", "parts": [{"tree": "t", "commands": ["a", "c"]}, {"tree": "u"}]}]}"#,
        );
        assert_eq!(recipe.commands_of("t"), Some(vec!["a", "b", "c"]));
        assert_eq!(recipe.commands_of("u"), None);
    }
}
