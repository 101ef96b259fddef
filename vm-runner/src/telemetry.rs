//! Logging. Goes to standard error, which belongs to logs alone.
//!
//! Each request has a span (`--log debug`) with its request id and its place in a trace (W3C Trace Context), in the
//! supervisor and in the vm process alike: both headers are passed on with the request.

mod quota;

use http::HeaderName;
use tracing::Span;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use vm_api::header;

use crate::args::LogFormat;
use crate::config::{Config, TaskConfig};
use crate::http::{Request, header_text};

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
    let writer = if matches!(config.task, TaskConfig::Vm(_)) {
        BoxMakeWriter::new(quota::BoundedStderr::new(config.log.format))
    } else {
        BoxMakeWriter::new(std::io::stderr)
    };
    let builder = tracing_subscriber::fmt().with_env_filter(env_filter).with_writer(writer);
    match config.log.format {
        LogFormat::Json => {
            builder.json().flatten_event(true).with_current_span(true).with_span_list(false).init()
        }
        LogFormat::Text => builder.with_ansi(false).init(),
    }
    Ok(())
}

/// The span of a request. `face` is the part of this program that answers it.
pub(crate) fn request_span(face: &'static str, request: &Request) -> Span {
    let text = |name| header_text(request.headers(), &HeaderName::from_static(name));
    let (request_id, traceparent) = (text(header::REQUEST_ID), text(header::TRACEPARENT));
    tracing::debug_span!("request", face, method = %request.method(), request_id, traceparent)
}
