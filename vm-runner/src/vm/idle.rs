//! Gives memory back when the programs of a VM have not run for a moment: nobody has to ask for it.
//!
//! Must never know why the VM is awake.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

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
        release_free_memory();
    }
}

/// Gives the host what the allocator keeps for later.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "a function of the C library that nobody wraps")]
fn release_free_memory() {
    // SAFETY: it takes a number, may be called at any time on any thread, and changes nothing that is allocated.
    let _released = unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
fn release_free_memory() {}
