//! Gives memory back when the programs of a VM have not run for a moment: nobody has to ask for it.
//!
//! Must never know why the VM is awake.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use super::allocator;
use super::server::Server;

/// For how long no program must have run.
const IDLE_FOR: Duration = Duration::from_secs(2);

/// Trims a VM whenever it has become idle. A VM that stays idle is not looked at.
pub(super) async fn trim(server: Arc<Server>) -> Infallible {
    loop {
        server.wait_for_answer().await;
        let Some(vm) = server.vm() else { continue };
        loop {
            tokio::time::sleep(IDLE_FOR).await;
            if vm.kernel().activity().idle_for >= IDLE_FOR {
                break;
            }
        }
        vm.trim();
        allocator::release_free_memory();
    }
}
