//! The gateway as its clients see it: over TLS on loopback, with a scripted API server behind it and runners that are
//! scripted too. Only these two are not real.

#![cfg(test)]

mod limits;
mod outage;
mod permissions;
mod real;
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
use std::time::Duration;
use support::runner::{self, Script};
use support::world::{Answered, World, exec};

/// What a request is answered while another one waits for a runner that does not answer.
async fn refusal_beside_one_that_waits(world: &World) -> Answered {
    let mut first = world.connect(None).await;
    let mut waiting = Box::pin(first.head(exec("ada")));
    let refused = async {
        loop {
            let mut second = world.connect(None).await;
            let attempt = tokio::time::timeout(Duration::from_millis(100), second.send(exec("ada"))).await;
            if let Ok(answered) = attempt {
                return answered;
            }
        }
    };
    tokio::select! {
        _ = &mut waiting => panic!("the runner does not answer"),
        answered = refused => answered,
    }
}

fn always(make: impl Fn() -> runner::Answer + Send + Sync + 'static) -> Script {
    Arc::new(move |_| {
        let answer = make();
        Box::pin(async move { answer })
    })
}
