//! How large a terminal's window is.

/// Columns and rows of characters; 0 if unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowSize {
    /// Characters in a row.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

impl WindowSize {
    /// What programs assume of an unknown terminal.
    pub const STANDARD: Self = Self { columns: 80, rows: 24 };
}
