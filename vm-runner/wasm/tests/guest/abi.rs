//! Rules of the host interface, one small program each.

use vm_kernel::{ExitStatus, Limits};
use vm_wasm::EngineOptions;

use crate::machine::{Programs, user_command};

#[tokio::test]
async fn a_program_writes_and_exits_with_its_code() {
    let machine = Programs::new().with("hello").boot(&EngineOptions::default(), Limits::default());
    let finished = machine.run(user_command("hello")).await;
    assert_eq!(finished.stdout, "hello\n");
    assert_eq!(finished.status, ExitStatus::Exited(7));
}
