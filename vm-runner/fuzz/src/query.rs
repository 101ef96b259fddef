//! Query parameters of the files API, with their patterns.

#[path = "../../src/vm/server/query.rs"]
#[allow(dead_code, reason = "the runner uses what this does not")]
mod parameters;

use parameters::Query;

const KNOWN: &[&str] = &["after", "depth", "exclude", "list", "mode", "path"];

/// Reads a query, and matches a path with its patterns.
///
/// # Panics
/// If a value is beyond what was asked for.
pub fn query(data: &[u8]) {
    let (text, path) = match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &b"a/b/c.txt"[..]),
    };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(query) = Query::parse(Some(text), KNOWN) else { return };
    assert!(
        query.number("depth", 1, 64).is_ok_and(|depth| depth <= 64) || query.number("depth", 1, 64).is_err()
    );
    let _ = (query.switch("list"), query.optional_number("after", 10));
    if let Ok(Some(mode)) = query.mode("mode") {
        assert!(mode <= 0o7777);
    }
    if let Ok(excludes) = query.excludes() {
        let _ = excludes.matches(path);
    }
    // A pattern without special characters matches itself only.
    if path.len() < 256 && !path.iter().any(|byte| b"*?".contains(byte)) {
        assert!(parameters::matches(path, path));
        assert!(!parameters::matches(path, &[path, b"x"].concat()));
    }
    assert!(parameters::matches(b"*", path));
}
