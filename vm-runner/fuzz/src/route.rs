//! Paths of the HTTP API.

use vm_api::route;

/// Splits a request's path as runner and gateway do.
///
/// # Panics
/// If a part is not of the path, or a guest's path changes on the way into a route and back.
pub fn route(data: &[u8]) {
    let encoded = format!("{}{}", route::FILES, route::encode_guest_path(&[b"/", data].concat()));
    assert_eq!(route::guest_path(&encoded), Some([b"/", data].concat()), "{encoded}");
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some((uid, area)) = route::split_runner_path(text) {
        assert!(!uid.is_empty() && !uid.contains('/') && text.ends_with(area));
        let _ = route::guest_path(area);
    }
    if let Some((namespace, name, area)) = route::split_gateway_path(text) {
        assert!(!namespace.is_empty() && !name.is_empty() && !name.contains('/') && text.ends_with(area));
    }
    if let Some(path) = route::guest_path(text) {
        assert!(path.starts_with(b"/") || !text.starts_with("files/"));
    }
    let workspace = route::Workspace::at_runner(text);
    let split = route::split_runner_path(workspace.base());
    assert_eq!(split.is_some(), !text.is_empty(), "{}", workspace.base());
    assert!(split.is_none_or(|(_, area)| area.is_empty()), "{}", workspace.base());
}
