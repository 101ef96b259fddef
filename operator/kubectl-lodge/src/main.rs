//! The kubectl plugin of Lodge. Connects the process's streams and exit code to [`kubectl_lodge::run`].

use std::io;
use std::process::ExitCode;

use kubectl_lodge::Terminal;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let (mut stdin, mut stdout, mut stderr) = (io::stdin(), io::stdout(), io::stderr());
    let mut terminal = Terminal { stdin: &mut stdin, stdout: &mut stdout, stderr: &mut stderr };
    ExitCode::from(kubectl_lodge::run(std::env::args_os(), &mut terminal).await)
}
