//! Logging. Goes to standard error, which belongs to logs alone.

use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;
use crate::config::Config;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter has no meaning.
    #[error("--log {filter:?} cannot be read")]
    Filter {
        /// The filter.
        filter: String,
        /// Why.
        source: tracing_subscriber::filter::ParseError,
    },
}

/// Sets up logging for this process, as configured.
///
/// # Errors
/// When the filter cannot be read.
pub fn init(config: &Config) -> Result<(), Error> {
    let filter = config.log.filter.clone();
    let env_filter =
        EnvFilter::builder().parse(&filter).map_err(|source| Error::Filter { filter, source })?;
    let builder = tracing_subscriber::fmt().with_env_filter(env_filter).with_writer(std::io::stderr);
    match config.log.format {
        LogFormat::Json => {
            builder.json().flatten_event(true).with_current_span(true).with_span_list(false).init()
        }
        LogFormat::Text => builder.with_ansi(false).init(),
    }
    Ok(())
}
