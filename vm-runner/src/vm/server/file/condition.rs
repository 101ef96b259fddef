//! Entity tags, and requests that depend on them: `If-Match`, `If-None-Match`, `If-Range` (RFC 9110, section 13).

use http::header::{HeaderMap, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use vm_abi::Stat;
use vm_api::{Problem, ProblemCode};

use crate::vm::server::errno::shown;

/// Names one state of one file. The time of the last change at all cannot be set by anybody, so that a file whose
/// content changes gets another tag even if its size stays and its time of writing is set back.
pub(super) fn etag(stat: &Stat) -> String {
    let (changed, modified) = (stat.ctime.as_nanos(), stat.mtime.as_nanos());
    format!("\"{:x}-{changed:x}-{modified:x}-{:x}\"", stat.ino, stat.size)
}

/// Whether a list of entity tags, or `*`, names this one. A file that has none is named by `*` only.
pub(super) fn names(list: &str, tag: Option<&str>) -> bool {
    let is = |wanted: &str| tag.is_some_and(|tag| wanted.trim_start_matches("W/") == tag);
    list.split(',').map(str::trim).any(|wanted| wanted == "*" || is(wanted))
}

/// What must hold for a request to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Condition {
    must_match: Option<String>,
    must_differ: Option<String>,
}

impl Condition {
    pub(super) fn new(must_match: Option<String>, must_differ: Option<String>) -> Self {
        Self { must_match, must_differ }
    }

    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self::new(list(headers, &IF_MATCH), list(headers, &IF_NONE_MATCH))
    }

    /// Whether anything is asked for.
    pub(super) fn is_some(&self) -> bool {
        self.must_match.is_some() || self.must_differ.is_some()
    }

    /// Whether only a file that does not exist will do.
    pub(super) fn wants_new(&self) -> bool {
        self.must_differ.as_deref().is_some_and(|list| list.trim() == "*")
    }

    /// Whether a reader has this content already.
    pub(super) fn is_not_modified(&self, tag: Option<&str>) -> bool {
        self.must_match.as_deref().is_none_or(|list| names(list, tag))
            && self.must_differ.as_deref().is_some_and(|list| names(list, tag))
    }

    /// Refuses if what is there now is not what the request is about.
    pub(super) fn check(&self, path: &[u8], existing: Option<&Stat>) -> Result<(), Problem> {
        if !self.is_some() {
            return Ok(());
        }
        let tag = existing.map(etag);
        let is_named = |list: &str| tag.is_some() && names(list, tag.as_deref());
        self.check_that(path, is_named, tag.as_deref().unwrap_or("nothing"))
    }

    /// As [`check`](Self::check), for a file that is there and has no entity tag.
    pub(super) fn check_untagged(&self, path: &[u8]) -> Result<(), Problem> {
        self.check_that(path, |list| names(list, None), "a file without an entity tag")
    }

    fn check_that(&self, path: &[u8], is_named: impl Fn(&str) -> bool, now: &str) -> Result<(), Problem> {
        if self.must_match.as_deref().is_none_or(&is_named)
            && !self.must_differ.as_deref().is_some_and(&is_named)
        {
            return Ok(());
        }
        let detail = format!("{} is {now} now, which the request's condition excludes", shown(path));
        Err(Problem::new(ProblemCode::PreconditionFailed, detail).with_path(path))
    }
}

/// Header lines of one name make one list. What is no text names no tag.
fn list(headers: &HeaderMap, name: &http::HeaderName) -> Option<String> {
    let mut lines = headers.get_all(name).iter().peekable();
    lines.peek()?;
    Some(lines.map(text).collect::<Vec<_>>().join(","))
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use vm_abi::Timespec;

    use super::*;

    fn stat() -> Stat {
        Stat {
            dev: 0,
            ino: 1,
            mode: 0o100_644,
            nlink: 1,
            uid: vm_abi::Uid(0),
            gid: vm_abi::Gid(0),
            rdev: vm_abi::DeviceNumber::default(),
            size: 2,
            blocks: 1,
            atime: Timespec::from_secs(2),
            mtime: Timespec::from_secs(3),
            ctime: Timespec::from_secs(4),
        }
    }

    #[test]
    fn entity_tags_match_exactly_or_with_a_star() {
        for (wanted, expected) in
            [("\"a\"", true), ("\"b\", \"a\"", true), ("*", true), ("\"b\"", false), ("", false)]
        {
            assert_eq!(names(wanted, Some("\"a\"")), expected, "{wanted}");
            assert_eq!(names(wanted, None), wanted == "*", "{wanted}");
        }
    }

    #[test]
    fn every_kind_of_change_gives_another_tag() {
        let before = etag(&stat());
        let changes: [fn(&mut Stat); 4] = [
            |stat| stat.ino += 1,
            |stat| stat.size += 1,
            |stat| stat.mtime.nsec += 1,
            |stat| stat.ctime.nsec += 1,
        ];
        for change in changes {
            let mut after = stat();
            change(&mut after);
            assert_ne!(etag(&after), before);
        }
    }

    #[test]
    fn a_condition_is_about_what_is_there() {
        let tag = etag(&stat());
        for (must_match, must_differ, existing, expected) in [
            (None, None, true, true),
            (Some(tag.as_str()), None, true, true),
            (Some(tag.as_str()), None, false, false),
            (Some("*"), None, true, true),
            (Some("*"), None, false, false),
            (Some("\"other\""), None, true, false),
            (None, Some("*"), true, false),
            (None, Some("*"), false, true),
            (None, Some(tag.as_str()), true, false),
            (None, Some("\"other\""), true, true),
        ] {
            let condition = Condition::new(must_match.map(str::to_owned), must_differ.map(str::to_owned));
            let result = condition.check(b"/f", existing.then(stat).as_ref());
            assert_eq!(result.is_ok(), expected, "{condition:?} {existing}");
        }
    }

    #[test]
    fn a_file_without_an_entity_tag_is_there_but_is_no_state_that_was_named() {
        for (must_match, must_differ, expected) in [
            (None, None, true),
            (Some("*"), None, true),
            (Some("\"a\""), None, false),
            (None, Some("\"a\""), true),
            (None, Some("*"), false),
        ] {
            let condition = Condition::new(must_match.map(str::to_owned), must_differ.map(str::to_owned));
            assert_eq!(condition.check_untagged(b"/f").is_ok(), expected, "{condition:?}");
            assert_eq!(condition.is_not_modified(None), must_differ == Some("*"), "{condition:?}");
        }
    }

    #[test]
    fn several_header_lines_are_one_list() {
        let mut headers = HeaderMap::new();
        assert!(!Condition::of(&headers).is_some());
        headers.append(IF_MATCH, HeaderValue::from_static("\"a\""));
        headers.append(IF_MATCH, HeaderValue::from_static("\"b\""));
        assert_eq!(Condition::of(&headers).must_match.as_deref(), Some("\"a\",\"b\""));
    }
}
