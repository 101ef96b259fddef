//! Query parameters of the files API.

use percent_encoding::percent_decode_str;
use vm_api::{Problem, ProblemCode};

/// Parsed parameters, in order.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

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
            let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
            pairs.push((name.to_owned(), value));
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a switch is on: `?name`, `?name=true`; off: absent, `?name=false`.
    pub(crate) fn switch(&self, name: &str) -> Result<bool, Problem> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("" | "true") => Ok(true),
            Some(other) => Err(wrong(name, other, "true or false")),
        }
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
        assert_eq!(query.all("exclude").collect::<Vec<_>>(), ["a*b", "c"]);
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
    fn a_hostile_pattern_takes_no_exponential_time() {
        let pattern = "*a".repeat(60);
        assert!(!matches(pattern.as_bytes(), &[b'a'; 59]));
    }
}
