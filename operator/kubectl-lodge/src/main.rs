//! The kubectl plugin of Lodge. Connects the process's streams and exit code to [`kubectl_lodge::run`].

use std::process::ExitCode;

use kubectl_lodge::Terminal;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    ExitCode::from(kubectl_lodge::run(std::env::args_os(), &mut Terminal::of_process()).await)
}
