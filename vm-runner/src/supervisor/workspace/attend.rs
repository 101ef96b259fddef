//! Asking a VM now and then whether anything keeps it awake, and what it uses.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use vm_api::Usage;

use crate::boot_request::{ACTIVITY, Activity};
use crate::supervisor::client::{self, VmClient};

const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read: a vm process is not trusted.
const MAX_ANSWER_BYTES: usize = 16 << 10;

/// Asks a VM after a pause. `None` when it does not answer.
pub(super) async fn ask_after(pause: Duration, vm: Arc<VmClient>) -> Option<Activity> {
    tokio::time::sleep(pause).await;
    ask(&vm).await
}

/// Asks a VM. `None` when it does not answer.
pub(super) async fn ask(vm: &Arc<VmClient>) -> Option<Activity> {
    let ask = async {
        let request = http::Request::get(ACTIVITY).body(client::full("")).ok()?;
        let response = vm.connect().await.ok()?.send(request).await.ok()?;
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await.ok()?.to_bytes();
        serde_json::from_slice::<Activity>(&body).ok()
    };
    tokio::time::timeout(TIMEOUT, ask).await.ok().flatten()
}

/// Whether a change is worth telling: more than a tenth, and more than a rounding error.
pub(super) fn has_changed_much(old: Option<Usage>, new: Usage) -> bool {
    let Some(old) = old else { return true };
    let Usage { storage_bytes, files, processes, memory_bytes } = new;
    let differs = |old: u64, new: u64, least: u64| old.abs_diff(new) > (old / 10).max(least);
    differs(old.storage_bytes, storage_bytes, 1 << 20)
        || differs(old.files, files, 16)
        || differs(old.processes, processes, 0)
        || differs(old.memory_bytes, memory_bytes, 1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_that_matters_is_told() {
        let old = Usage { storage_bytes: 100 << 20, files: 1000, processes: 2, memory_bytes: 50 << 20 };
        assert!(has_changed_much(None, Usage::default()));
        assert!(!has_changed_much(Some(old), old));
        assert!(!has_changed_much(Some(old), Usage { storage_bytes: 109 << 20, files: 1100, ..old }));
        assert!(has_changed_much(Some(old), Usage { storage_bytes: 111 << 20, ..old }));
        assert!(has_changed_much(Some(old), Usage { processes: 3, ..old }));
    }
}
