//! Query parameters of the files API.

use percent_encoding::percent_decode_str;
use vm_api::{Problem, ProblemCode};

/// Parsed parameters, in order.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, Vec<u8>)>);

/// Parameters that may be any bytes; others must be text.
const BYTES: [&str; 3] = ["after", "exclude", "path"];
/// Most patterns of what to exclude, and most bytes of one.
const MAX_EXCLUDES: usize = 64;
const MAX_EXCLUDE_BYTES: usize = 1024;

impl Query {
    /// Parses a query and refuses parameters that are not `known`.
    pub(crate) fn parse(query: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let mut pairs = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !known.contains(&name) {
                let detail = format!("unknown query parameter {name:?}; there are {}", known.join(", "));
                return Err(Problem::new(ProblemCode::InvalidQuery, detail).with_field(name));
            }
            let value: Vec<u8> = percent_decode_str(value).collect();
            if std::str::from_utf8(&value).is_err() && !BYTES.contains(&name) {
                return Err(wrong(name, &String::from_utf8_lossy(&value), "UTF-8"));
            }
            pairs.push((name.to_owned(), value));
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter, as text.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.bytes(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The value of a parameter.
    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }

    /// The patterns in `exclude`, which may be repeated and hold several between commas.
    pub(crate) fn excludes(&self) -> Result<Excludes, Problem> {
        let values = self.0.iter().filter(|(known, _)| known == "exclude");
        let lists = values.flat_map(|(_, value)| value.split(|byte| *byte == b','));
        let patterns: Vec<Vec<u8>> =
            lists.filter(|pattern| !pattern.is_empty()).map(<[u8]>::to_vec).collect();
        if patterns.len() > MAX_EXCLUDES || patterns.iter().any(|pattern| pattern.len() > MAX_EXCLUDE_BYTES) {
            let detail = format!("exclude: at most {MAX_EXCLUDES} patterns of {MAX_EXCLUDE_BYTES} bytes");
            return Err(Problem::new(ProblemCode::InvalidQuery, detail).with_field("exclude"));
        }
        Ok(Excludes(patterns))
    }

    /// Whether a switch is on: `?name`, `?name=true`; off: absent, `?name=false`.
    pub(crate) fn switch(&self, name: &str) -> Result<bool, Problem> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("" | "true") => Ok(true),
            Some(other) => Err(wrong(name, other, "true or false")),
        }
    }

    /// A number up to `most`, if it is there.
    pub(crate) fn optional_number(&self, name: &str, most: u64) -> Result<Option<u64>, Problem> {
        self.get(name)
            .map(|text| match text.parse() {
                Ok(number) if number <= most => Ok(number),
                _ => Err(wrong(name, text, &format!("a number up to {most}"))),
            })
            .transpose()
    }

    /// A number up to `most`.
    pub(crate) fn number(&self, name: &str, default: u32, most: u32) -> Result<u32, Problem> {
        match self.get(name) {
            None => Ok(default),
            Some(text) => match text.parse() {
                Ok(number) if number <= most => Ok(number),
                _ => Err(wrong(name, text, &format!("a number up to {most}"))),
            },
        }
    }

    /// Permission bits in octal.
    pub(crate) fn mode(&self, name: &str) -> Result<Option<u32>, Problem> {
        self.get(name).map(|text| parse_mode(text, name)).transpose()
    }
}

/// Reads permission bits in octal.
pub(crate) fn parse_mode(text: &str, name: &str) -> Result<u32, Problem> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err(wrong(name, text, "permission bits in octal, such as 0644")),
    }
}

fn wrong(name: &str, value: &str, expected: &str) -> Problem {
    Problem::new(ProblemCode::InvalidQuery, format!("{name}={value}: expected {expected}")).with_field(name)
}

/// Patterns of names and paths that are left out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Excludes(Vec<Vec<u8>>);

impl Excludes {
    /// Whether a path, relative to the top of what is listed, is left out. A pattern without a slash is matched with the
    /// last name; one with a slash with the whole path, where `**` stands for any number of names.
    pub(crate) fn matches(&self, relative: &[u8]) -> bool {
        let name = relative.rsplit(|byte| *byte == b'/').next().unwrap_or(relative);
        self.0.iter().any(|pattern| {
            if pattern.contains(&b'/') { matches_path(pattern, relative) } else { matches(pattern, name) }
        })
    }
}

/// Name by name; `reached` holds how many names of the path each part of the pattern may have taken so far.
fn matches_path(pattern: &[u8], path: &[u8]) -> bool {
    let pattern = pattern.strip_prefix(b"/").unwrap_or(pattern);
    let pattern = pattern.strip_suffix(b"/").unwrap_or(pattern);
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let mut reached = vec![false; names.len() + 1];
    reached[0] = true;
    let mut parts = pattern.split(|byte| *byte == b'/').peekable();
    while let Some(part) = parts.next() {
        let mut next = vec![false; names.len() + 1];
        // At the end it stands for what is in a directory, not for the directory.
        let is_inside = parts.peek().is_none();
        for taken in 0..=names.len() {
            if part == b"**" {
                let was_reached = reached[taken] && !is_inside;
                next[taken] = was_reached || (taken > 0 && (next[taken - 1] || reached[taken - 1]));
            } else if reached[taken] && taken < names.len() && matches(part, names[taken]) {
                next[taken + 1] = true;
            }
        }
        reached = next;
    }
    reached.last().copied().unwrap_or_default()
}

/// Whether a name matches a pattern of `*` (anything), `?` (one character) and literal characters.
pub(crate) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at_pattern, mut at_name) = (0, 0);
    // Where to go on when what follows the last `*` does not fit: the star takes one more character.
    let mut retry: Option<(usize, usize)> = None;
    while at_name < name.len() {
        match pattern.get(at_pattern) {
            Some(b'*') => {
                retry = Some((at_pattern + 1, at_name));
                at_pattern += 1;
            }
            Some(expected) if *expected == b'?' || *expected == name[at_name] => {
                at_pattern += 1;
                at_name += 1;
            }
            _ => match retry {
                Some((after_star, taken)) => {
                    retry = Some((after_star, taken + 1));
                    (at_pattern, at_name) = (after_star, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at_pattern..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_parameter_is_refused_with_those_there_are() {
        let problem = Query::parse(Some("lsit"), &["list", "depth"]).unwrap_err();
        assert!(
            problem.detail.contains("\"lsit\"") && problem.detail.contains("list, depth"),
            "{}",
            problem.detail
        );
    }

    #[test]
    fn parameters_are_read_by_their_kind() {
        let query = Query::parse(
            Some("list&depth=3&mode=0755&exclude=a%2Ab&exclude=c"),
            &["list", "depth", "mode", "exclude"],
        );
        let query = query.unwrap();
        assert!(query.switch("list").unwrap());
        assert_eq!(query.number("depth", 1, 64).unwrap(), 3);
        assert_eq!(query.mode("mode").unwrap(), Some(0o755));
        assert_eq!(query.excludes().unwrap().0, [&b"a*b"[..], b"c"]);
        assert!(query.number("depth", 1, 2).unwrap_err().detail.contains("up to 2"));
        assert!(parse_mode("rwx", "mode").unwrap_err().detail.contains("0644"));
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("node_modules", "node_modules", true),
            ("*.rs", "main.rs", true),
            ("*.rs", "main.rsx", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b", "xxaxxab", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_with_a_slash_is_about_the_whole_path() {
        for (pattern, path, expected) in [
            ("src/*.rs", "src/main.rs", true),
            ("src/*.rs", "src/a/main.rs", false),
            ("src/**/*.rs", "src/a/b/main.rs", true),
            ("src/**/*.rs", "src/main.rs", true),
            ("**/target", "a/b/target", true),
            ("**/target", "target", true),
            ("/target", "a/target", false),
            ("/target", "target", true),
            ("target", "a/target", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a/b", true),
            ("a/**", "a", false),
            ("a/**", "b", false),
            ("**", "a", true),
        ] {
            let excludes = Excludes(vec![pattern.as_bytes().to_vec()]);
            assert_eq!(excludes.matches(path.as_bytes()), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn only_paths_may_be_any_bytes() {
        assert_eq!(Query::parse(Some("path=%ff"), &["path"]).unwrap().bytes("path"), Some(&b"\xff"[..]));
        assert!(Query::parse(Some("mode=%ff"), &["mode"]).unwrap_err().detail.contains("UTF-8"));
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        let pattern = "*a".repeat(60);
        assert!(!matches(pattern.as_bytes(), &[b'a'; 59]));
    }
}
