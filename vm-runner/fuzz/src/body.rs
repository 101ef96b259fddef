//! JSON from outside: bodies of requests, the manifest of the software folder, and the texts within them.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use vm_api::{
    AttributesRequest, Base64, BatchReadRequest, BatchWriteRequest, CopyRequest, ExecRequest, KillRequest,
    LinkRequest, MkdirRequest, MoveRequest, Problem, ProcessRequest, ResizeRequest, ShellControl,
    ShellRequest, SoftwareList, VmEvent, WireDuration, WorkspaceConfig, WorkspaceState,
};

/// Reads a body as every type of request, and answers of other processes.
///
/// # Panics
/// If what was read changes on the way to JSON and back.
pub fn body(data: &[u8]) {
    there_and_back::<WorkspaceConfig>(data);
    there_and_back::<ExecRequest>(data);
    there_and_back::<ProcessRequest>(data);
    there_and_back::<KillRequest>(data);
    there_and_back::<ShellRequest>(data);
    there_and_back::<ShellControl>(data);
    there_and_back::<ResizeRequest>(data);
    there_and_back::<MkdirRequest>(data);
    there_and_back::<MoveRequest>(data);
    there_and_back::<CopyRequest>(data);
    there_and_back::<LinkRequest>(data);
    there_and_back::<AttributesRequest>(data);
    there_and_back::<BatchReadRequest>(data);
    there_and_back::<BatchWriteRequest>(data);
    there_and_back::<WorkspaceState>(data);
    there_and_back::<VmEvent>(data);
    there_and_back::<Problem>(data);
}

/// Reads the manifest of a software folder.
///
/// # Panics
/// If it changes on the way to JSON and back.
pub fn manifest(data: &[u8]) {
    there_and_back::<SoftwareList>(data);
}

/// Reads durations and base64.
///
/// # Panics
/// If a value changes on the way to text and back.
pub fn text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(duration) = text.parse::<WireDuration>() {
        assert_eq!(duration.to_string().parse(), Ok(duration));
    }
    let quoted = serde_json::to_vec(text).unwrap_or_default();
    there_and_back::<WireDuration>(&quoted);
    there_and_back::<Base64>(&quoted);
    // Any bytes can be said in base64.
    let encoded = serde_json::to_vec(&Base64(data.to_vec())).unwrap_or_default();
    let decoded = serde_json::from_slice::<Base64>(&encoded);
    assert_eq!(decoded.map(|decoded| decoded.0).ok().as_deref(), Some(data));
}

fn there_and_back<T: DeserializeOwned + Serialize + PartialEq + Debug>(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<T>(data) else { return };
    let json = serde_json::to_vec(&value);
    assert!(json.is_ok(), "what was read cannot be written: {value:?}");
    let again = json.ok().and_then(|json| serde_json::from_slice::<T>(&json).ok());
    assert_eq!(again.as_ref(), Some(&value));
}
