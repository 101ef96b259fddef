//! Commands that the published packages have as stubs only, written for the guest's shell.
//!
//! They stand in `/usr/local/bin`, which comes before the packages in `PATH`. A package that one day brings the real
//! program makes its script here superfluous. Must never know a workspace.

/// Where the commands stand in the guest.
pub(crate) const FOLDER: &str = "/usr/local/bin";

/// Name and script of each command.
pub(crate) const COMMANDS: [(&str, &str); 7] = [
    ("groups", include_str!("commands/groups")),
    ("install", include_str!("commands/install")),
    ("sync", include_str!("commands/sync")),
    ("tty", include_str!("commands/tty")),
    ("uptime", include_str!("commands/uptime")),
    ("users", include_str!("commands/who")),
    ("who", include_str!("commands/who")),
];
