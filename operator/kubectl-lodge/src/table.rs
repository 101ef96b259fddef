//! Lists: a table for people, documents for programs, names for pipes.

use jiff::Timestamp;
use serde::Serialize;

use crate::args::Format;
use crate::error::Error;
use crate::terminal::Terminal;

/// A table whose last columns are shown only if more is wanted.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<&'static str>,
    /// How many of them are always shown.
    narrow: usize,
    rows: Vec<Vec<String>>,
    names: Vec<String>,
}

impl Table {
    pub(crate) fn new(narrow: &[&'static str], wide: &[&'static str]) -> Self {
        Self { columns: [narrow, wide].concat(), narrow: narrow.len(), rows: Vec::new(), names: Vec::new() }
    }

    /// Adds a row, with the name of what it is about.
    pub(crate) fn add(&mut self, name: &str, cells: Vec<String>) {
        self.names.push(name.to_owned());
        self.rows.push(cells);
    }

    /// Prints it, or the document that it was made from.
    pub(crate) fn print(
        &self,
        document: &impl Serialize,
        format: Option<Format>,
        nothing: &str,
        terminal: &mut Terminal,
    ) -> Result<(), Error> {
        match format {
            Some(Format::Json | Format::Yaml) => print_document(document, format, terminal),
            Some(Format::Name) => {
                let lines: String = self.names.iter().map(|name| format!("{name}\n")).collect();
                terminal.print(lines.as_bytes())
            }
            None | Some(Format::Wide) if self.rows.is_empty() => {
                terminal.tell(nothing);
                Ok(())
            }
            None => terminal.print(self.text(self.narrow).as_bytes()),
            Some(Format::Wide) => terminal.print(self.text(self.columns.len()).as_bytes()),
        }
    }

    /// The first `count` columns, as wide as they have to be.
    pub(crate) fn text(&self, count: usize) -> String {
        let head: Vec<String> = self.columns.iter().map(|name| (*name).to_owned()).collect();
        let rows: Vec<Vec<String>> = std::iter::once(&head)
            .chain(&self.rows)
            .map(|row| row.iter().take(count).map(|cell| printable(cell)).collect())
            .collect();
        let width = |column: usize| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or_default()).collect();
        let mut text = String::new();
        for row in &rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            let line = cells.collect::<Vec<_>>().join("   ");
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// The columns that are always shown.
    pub(crate) fn narrow(&self) -> String {
        self.text(self.narrow)
    }
}

/// Prints a document as JSON or YAML.
pub(crate) fn print_document(
    document: &impl Serialize,
    format: Option<Format>,
    terminal: &mut Terminal,
) -> Result<(), Error> {
    let text = if format == Some(Format::Yaml) {
        serde_saphyr::to_string(document).map_err(|error| Error::Answer(error.to_string()))?
    } else {
        let text =
            serde_json::to_string_pretty(document).map_err(|error| Error::Answer(error.to_string()))?;
        format!("{text}\n")
    };
    terminal.print(text.as_bytes())
}

/// Text from a workspace, without what a terminal would take for commands.
pub(crate) fn printable(text: &str) -> String {
    if text.chars().any(char::is_control) {
        text.chars()
            .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
            .collect()
    } else {
        text.to_owned()
    }
}

/// How long ago an RFC 3339 instant was, as kubectl shows ages.
pub(crate) fn age(instant: &str) -> String {
    instant.parse::<Timestamp>().map_or_else(|_| "-".to_owned(), |then| since(then, Timestamp::now()))
}

/// The time from one instant to another, in its two largest units.
pub(crate) fn since(then: Timestamp, now: Timestamp) -> String {
    let seconds = (now.as_second() - then.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 if seconds % 60 == 0 || seconds >= 600 => format!("{}m", seconds / 60),
        120..7_200 => format!("{}m{}s", seconds / 60, seconds % 60),
        7_200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A number of bytes, for people.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let mut value = count as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_have_to_be() {
        let mut table = Table::new(&["ID", "COMMAND"], &["SIZE"]);
        table.add("1", vec!["1".to_owned(), "sh\u{1b}[2J".to_owned(), "80x24".to_owned()]);
        assert_eq!(table.narrow(), "ID   COMMAND\n1    sh\\u{1b}[2J\n");
        assert_eq!(table.text(3).lines().next().unwrap(), "ID   COMMAND       SIZE");
    }

    #[test]
    fn ages_and_sizes_are_short() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        for (seconds, expected) in
            [(0, "0s"), (119, "119s"), (130, "2m10s"), (3600, "60m"), (7_300, "2h"), (200_000, "2d")]
        {
            let then = Timestamp::from_second(now.as_second() - seconds).unwrap();
            assert_eq!(since(then, now), expected);
        }
        assert_eq!(
            (bytes(1023), bytes(1536), bytes(1 << 30)),
            ("1023 B".to_owned(), "1.5 KiB".to_owned(), "1.0 GiB".to_owned())
        );
    }
}
