//! Header names that parts of Lodge exchange. All are lower case, as HTTP/2 wants them.

/// The authenticated user, added by the gateway; for logs only.
pub const USER: &str = "x-lodge-user";
/// Identifies a request across gateway, runner and VM.
pub const REQUEST_ID: &str = "x-request-id";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// Phases of a request with their durations.
pub const SERVER_TIMING: &str = "server-timing";
/// Prefix of headers that a client may never set and that the gateway strips.
pub const RESERVED_PREFIX: &str = "x-lodge-";

/// SAN of the operator's client certificate: may do everything at a runner.
pub const OPERATOR_IDENTITY: &str = "operator.lodge.internal";
/// SAN of the gateway's client certificate: may not write `/v1/workspaces/{uid}` itself.
pub const GATEWAY_IDENTITY: &str = "gateway.lodge.internal";
