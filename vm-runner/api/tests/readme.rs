//! The table of problem codes in `README.md` is that of the code.
#![expect(clippy::disallowed_methods, reason = "reads the README beside it, and writes it when asked to")]
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::fmt::Write as _;

use vm_api::ProblemCode;

fn table() -> String {
    let mut table = "| code | status | meaning | way out |\n|---|---|---|---|\n".to_owned();
    for code in ProblemCode::ALL {
        let (name, status) = (code.as_str(), code.status());
        writeln!(table, "| `{name}` | {status} | {} | {} |", code.meaning(), code.way_out()).unwrap();
    }
    table
}

#[test]
fn the_readme_has_the_table_of_all_codes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let (begin, end) = ("<!-- problem codes -->\n", "<!-- end -->");
    let readme = std::fs::read_to_string(path).unwrap();
    let (head, rest) = readme.split_once(begin).unwrap();
    let (_, tail) = rest.split_once(end).unwrap();
    let expected = format!("{head}{begin}{}{end}{tail}", table());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, expected).unwrap();
    } else {
        assert!(readme == expected, "README.md is old: UPDATE_DOCS=1 cargo test -p vm-api writes it anew");
    }
}
