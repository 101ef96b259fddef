//! The gateway as its clients see it: over TLS on loopback, with a scripted API server behind it and runners that are
//! scripted too. Only these two are not real.

#![cfg(test)]

mod limits;
mod permissions;
mod retries;
mod serving;
mod streams;
mod support {
    pub(crate) mod api_server;
    pub(crate) mod pki;
    pub(crate) mod runner;
    pub(crate) mod socket;
    pub(crate) mod world;
}
mod waiting;
mod withdrawal;

use std::sync::Arc;
use support::runner::{self, Script};

fn always(make: impl Fn() -> runner::Answer + Send + Sync + 'static) -> Script {
    Arc::new(move |_| {
        let answer = make();
        Box::pin(async move { answer })
    })
}
