//! Connections that have left HTTP: what a client and a VM say to each other is passed on byte by byte, both ways, until
//! one of them hangs up.
//!
//! A tunnel keeps its request's places, so a workspace with somebody attached is not idle. Must never look at what
//! passes.

use std::sync::{Mutex, PoisonError};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::task::JoinSet;

use super::client::Switch;
use super::forward::{Guarded, Places};
use crate::http::{Body, Response};
use crate::task::Task;

/// All tunnels; they end with this.
#[derive(Debug, Default)]
pub(crate) struct Tunnels {
    /// Guarded by itself; a leaf in the lock order.
    open: Mutex<JoinSet<()>>,
}

impl Tunnels {
    /// Gives the client the VM's answer, and passes on what follows if it is yes.
    pub(super) fn pass_through(&self, client: OnUpgrade, switch: Switch, places: Places) -> Response {
        let Switch { response, connection, driver } = switch;
        match connection {
            Some(vm) => {
                let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
                while open.try_join_next().is_some() {}
                open.spawn(pass(client, vm, driver, places));
                response
            }
            None => response.map(|body| Body::new(Guarded::driven(body, places, driver))),
        }
    }
}

async fn pass(client: OnUpgrade, vm: OnUpgrade, driver: Task<()>, places: Places) {
    let (client, vm) = tokio::join!(client, vm);
    // The connection has been handed over: nothing is left to drive.
    drop(driver);
    match (client, vm) {
        (Ok(client), Ok(vm)) => {
            let (mut client, mut vm) = (TokioIo::new(client), TokioIo::new(vm));
            if let Err(error) = copy_bidirectional(&mut client, &mut vm).await {
                tracing::debug!(%error, "a tunnel ended early");
            }
        }
        (Err(error), _) | (_, Err(error)) => tracing::debug!(%error, "a tunnel was not opened"),
    }
    drop(places);
}
