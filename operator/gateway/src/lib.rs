//! The Lodge gateway: the only door to the data plane.
//!
//! A request is understood (`route`, with what [`vm_api::area`] says of it), its user authenticated (`authenticate`,
//! `client_ca`), counted (`rate`) and authorised (`authorize`), and then delivered (`deliver`): looked up in the gateway's
//! own copy of the cluster (`directory`, fed by `watch`), held while its workspace is not there yet (`hold`), and
//! forwarded to the runner (`forward`, over connections of `pool` and `dial`) with both bodies streaming (`body`,
//! `answer`). A WebSocket becomes a `tunnel`. Whatever takes long is leased (`lease`): its user is reviewed again. `app`
//! puts the parts together; `server` and `plain` listen.
//!
//! Neighbours: the operator writes the status that is routed by and the Secret with the certificate; the runner serves the
//! same API under another base ([`vm_api::route`]). The gateway must never know what a request means beyond its permission
//! and whether it can be repeated: bodies pass unread, and nothing of a user's token, body or guest path is kept or logged.
//!
//! # Lock order
//! No lock is ever held while another one is taken, and none across an await. Locks: the tables of `directory`, the room
//! of `hold`, the three maps of `review_cache`, the current values of `tls`, `serving` and `client_ca`, the slot of a
//! streamed body in `body`, the idle connections of `pool`, the resting runners of `dial`, the meters of `rate`, the
//! seats of `peer`, the document of `openapi`, the registry of `metrics`.

mod answer;
mod app;
mod audience;
mod audit;
mod authenticate;
mod authorize;
mod body;
mod client_ca;
pub mod config;
mod deliver;
mod dial;
mod directory;
mod forward;
mod handle;
mod header;
mod hold;
mod lease;
mod metrics;
mod openapi;
mod peer;
mod plain;
mod pool;
mod problem;
mod rate;
mod request_id;
mod review;
mod review_cache;
mod route;
mod server;
mod serving;
mod socket;
mod spawn;
mod stall;
mod tls;
mod trace;
mod tunnel;
mod user;
mod watch;
mod websocket;

pub use app::{Error, Gateway};
