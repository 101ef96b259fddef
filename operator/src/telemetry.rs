//! The log. Structured, on standard error, without secrets: nothing of this crate logs what a Secret or an `env` holds.

use crate::args::{LogConfig, LogFormat};
use std::io::IsTerminal;
use tracing_subscriber::{EnvFilter, filter::ParseError, layer::SubscriberExt, util::SubscriberInitExt};

/// Starts logging for the whole process.
///
/// # Errors
/// If the filter isn't one.
pub fn start(config: &LogConfig) -> Result<(), ParseError> {
    let registry = tracing_subscriber::registry().with(EnvFilter::try_new(&config.filter)?);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match config.format {
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).init(),
        LogFormat::Text => registry.with(layer).init(),
    }
    Ok(())
}
