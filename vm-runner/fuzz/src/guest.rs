//! Structures that guests make: file actions of a spawn, socket addresses, flags.

use vm_kernel::syscall::{FileAction, SocketAddress, UnixAddress};

#[path = "../../wasm/src/host_net/address_text.rs"]
mod address_text;
#[path = "../../wasm/src/host_process/file_action.rs"]
mod file_action;

use address_text::TextAddress;

/// Most actions of one spawn.
const MAX_ACTIONS: usize = 64;
/// Bytes of an action besides its path.
const HEAD_BYTES: usize = 24;

/// Decodes the file actions of a spawn.
///
/// # Panics
/// If there are more than allowed, or their paths are longer than all that was given.
pub fn file_actions(data: &[u8]) {
    let Ok(actions) = file_action::decode(data, MAX_ACTIONS) else { return };
    let path_bytes = |action: &FileAction| match action {
        FileAction::Open { path, .. } | FileAction::ChangeDir(path) => path.len(),
        FileAction::Close(_)
        | FileAction::Dup2 { .. }
        | FileAction::ChangeDirTo(_)
        | FileAction::CloseFrom(_) => 0,
    };
    let bytes: usize = actions.iter().map(|action| HEAD_BYTES + path_bytes(action)).sum();
    assert!(actions.len() <= MAX_ACTIONS && bytes <= data.len());
}

/// Reads a socket address.
///
/// # Panics
/// If it means something else when it is written and read again.
pub fn address(data: &[u8]) {
    match address_text::parse(data) {
        Ok(TextAddress::Socket(SocketAddress::Inet(address))) => {
            let text = address.to_string();
            let again = address_text::parse(text.as_bytes());
            assert!(again == Ok(TextAddress::Socket(SocketAddress::Inet(address))), "{text}");
        }
        Ok(TextAddress::Socket(SocketAddress::Unix(
            UnixAddress::Path(path) | UnixAddress::Abstract(path),
        ))) => {
            assert!(path.len() <= data.len());
        }
        Ok(TextAddress::Name { host, port: _ }) => assert!(host.len() < data.len()),
        Ok(TextAddress::Socket(SocketAddress::Unix(UnixAddress::Unnamed | UnixAddress::Autobind)))
        | Err(_) => {}
    }
}
