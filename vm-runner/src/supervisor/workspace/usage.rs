//! What a VM uses, asked now and then: for the summary in the Workspace's status, not for accounting.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use vm_api::{Health, Usage, route};

use crate::supervisor::client::{self, VmClient};
use crate::supervisor::uid::Uid;

/// Soon after a boot, so that there is a number at all.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read: a vm process is not trusted.
const MAX_ANSWER_BYTES: usize = 16 << 10;

/// Asks a VM that has just booted. `None` when it does not answer.
pub(super) async fn measure_first(vm: Arc<VmClient>, uid: Uid) -> Option<Usage> {
    tokio::time::sleep(FIRST_PAUSE).await;
    measure(&vm, &uid).await
}

/// Asks a VM again, after a pause.
pub(super) async fn measure_next(vm: Arc<VmClient>, uid: Uid) -> Option<Usage> {
    tokio::time::sleep(PAUSE).await;
    measure(&vm, &uid).await
}

async fn measure(vm: &Arc<VmClient>, uid: &Uid) -> Option<Usage> {
    let ask = async {
        let path = route::Workspace::at_runner(uid.as_str()).health();
        let request = http::Request::get(path).body(client::full("")).ok()?;
        let response = vm.connect().await.ok()?.send(request).await.ok()?;
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await.ok()?.to_bytes();
        serde_json::from_slice::<Health>(&body).ok()?.usage
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
