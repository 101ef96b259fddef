//! Shapes of text: what the Rust types accept is what the rules for the API server accept. Tried with every short text over
//! the characters that matter, and with longer ones made of telling parts.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use lodge_crds::{
    BucketName, DataKey, Duration, EnvName, GuestPath, HostPattern, HttpUrl, ImageRef, ItemName,
    NpmPackageName, NpmVersion, ObjectName, PackageName, PromptId, Quantity, Schedule, SessionName,
    TimeZoneName, UserName, WorkspaceName,
};
use regex::Regex;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;
use std::str::FromStr;

/// A rule of the form `atom || atom` or `atom && atom`, where an atom compares `self` or matches it.
struct Rule {
    any: bool,
    atoms: Vec<Atom>,
}

enum Atom {
    Is(String),
    IsNot(String),
    Matches(Regex),
}

impl Rule {
    fn parse(rule: &str) -> Self {
        let any = rule.contains(" || ");
        let atoms = rule.split(if any { " || " } else { " && " }).map(Atom::parse).collect();
        Self { any, atoms }
    }

    fn accepts(&self, text: &str) -> bool {
        let holds = |atom: &Atom| match atom {
            Atom::Is(other) => text == other,
            Atom::IsNot(other) => text != other,
            Atom::Matches(regex) => regex.is_match(text),
        };
        if self.any { self.atoms.iter().any(holds) } else { self.atoms.iter().all(holds) }
    }
}

impl Atom {
    fn parse(atom: &str) -> Self {
        let quoted = |rest: &str| rest.trim_start_matches('r').trim_matches('\'').to_owned();
        if let Some(rest) = atom.strip_prefix("self == ") {
            Self::Is(quoted(rest))
        } else if let Some(rest) = atom.strip_prefix("self != ") {
            Self::IsNot(quoted(rest))
        } else {
            let rest = atom.strip_prefix("self.matches(").and_then(|rest| rest.strip_suffix(')')).unwrap();
            Self::Matches(Regex::new(&quoted(rest)).unwrap())
        }
    }
}

fn schema<T: JsonSchema>() -> Value {
    T::json_schema(&mut SchemaGenerator::default()).to_value()
}

/// Whether the API server accepts `text` for a type.
fn server_accepts(schema: &Value, rule: &Rule, text: &str) -> bool {
    let length = text.chars().count() as u64;
    length >= schema["minLength"].as_u64().unwrap()
        && length <= schema["maxLength"].as_u64().unwrap()
        && rule.accepts(text)
}

/// Every sequence of at most `most` of the parts.
fn texts(parts: &[&str], most: usize) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut longest = 0..1;
    for _ in 0..most {
        let longer: Vec<_> = all[longest.clone()]
            .iter()
            .flat_map(|text| parts.iter().map(move |part| format!("{text}{part}")))
            .collect();
        longest = all.len()..all.len() + longer.len();
        all.extend(longer);
    }
    all
}

#[track_caller]
fn agree<T: JsonSchema + FromStr>(parts: &[&str], most: usize) {
    let schema = schema::<T>();
    let rule = Rule::parse(schema["x-kubernetes-validations"][0]["rule"].as_str().unwrap());
    let mut accepted = 0;
    for text in texts(parts, most) {
        let server = server_accepts(&schema, &rule, &text);
        assert_eq!(
            T::from_str(&text).is_ok(),
            server,
            "{}: {text:?}; the server accepts: {server}",
            T::schema_name()
        );
        accepted += usize::from(server);
    }
    assert!(accepted > 0, "{}: nothing of what was tried is accepted", T::schema_name());
}

const LONG: &str = "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0"; // 63

#[test]
fn names_have_the_same_shape_in_rust_and_on_the_server() {
    let parts = ["a", "Z", "7", "-", "_", ".", "ä", " ", LONG];
    agree::<WorkspaceName>(&parts, 4);
    agree::<ObjectName>(&parts, 5);
    agree::<SessionName>(&parts, 4);
    agree::<ItemName>(&parts, 4);
    agree::<DataKey>(&parts, 4);
    agree::<EnvName>(&parts, 4);
    agree::<PromptId>(&parts, 4);
    agree::<PackageName>(&parts, 4);
    agree::<BucketName>(&parts, 4);
    agree::<UserName>(&["root", "a", "Z", "7", "-", "_", "ä"], 4);
}

#[test]
fn paths_and_urls_have_the_same_shape_in_rust_and_on_the_server() {
    agree::<GuestPath>(&["/", ".", "..", "a", "ä", " ", "\0", "\n"], 5);
    agree::<HttpUrl>(
        &["http://", "https://", "ftp://", "a.b", ":80", "/", "?", "#", " ", "\n", "\u{b}", "\u{a0}"],
        4,
    );
    agree::<HostPattern>(&["*", "*.", ".", "a", "7", "-", "_", "Z", ":", LONG], 5);
    agree::<ImageRef>(&["a", "Z", "7", "-", "_", ".", ":", "/", "@", " ", "ä"], 4);
}

#[test]
fn versions_and_times_have_the_same_shape_in_rust_and_on_the_server() {
    agree::<NpmPackageName>(&["@", "/", "a", "7", "-", "_", ".", "~", "Z"], 5);
    agree::<NpmVersion>(&["1", "23", ".", "-", "+", "rc", "x", "^"], 6);
    agree::<Duration>(&["1", "0", "23", "h", "m", "s", "ms", ".", "-", "1234567890"], 5);
    agree::<Schedule>(&["*", " ", "* * * ", "5", "MON", ",", "@daily", "@every ", "1h", ";", "\t"], 4);
    agree::<TimeZoneName>(&["Local", "UTC", "Europe", "/", "a_b", "+2", "-", ".", " "], 4);
}

#[test]
fn every_quantity_that_the_server_lets_pass_can_be_read() {
    let schema = schema::<Quantity>();
    let pattern = Regex::new(schema["pattern"].as_str().unwrap()).unwrap();
    let mut accepted = 0;
    for text in
        texts(&["1", "0", "999999999999999999", ".", "5", "m", "k", "Ki", "E", "Ei", "e", "-", "+", " "], 4)
    {
        if text.len() <= 32 && pattern.is_match(&text) {
            assert!(text.parse::<Quantity>().is_ok(), "{text:?}");
            accepted += 1;
        }
    }
    assert!(accepted > 100);
}
