//! Programs that a workspace brings itself, in a vm process that is locked down.
#![expect(clippy::disallowed_methods, reason = "tests look at what a runner keeps on disk")]

use http::{Method, StatusCode};

use crate::runner::Runner;

/// Writes one line, with WASI preview 1 only.
const PROGRAM: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 8) "\10\00\00\00\12\00\00\00")
    (data (i32.const 16) "brought by a user\n")
    (func (export "_start") (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))))"#;

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_program_that_a_workspace_brings_runs_and_its_code_is_kept() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let wasm = wat::parse_str(PROGRAM).unwrap();
    assert!(workspace.put("/home/agent/program", wasm).await.status.is_success());
    let done =
        workspace.sh("chmod +x program && ./program && cp program other && ./other | tr a-z A-Z").await;
    assert_eq!(done.stdout, "brought by a user\nBROUGHT BY A USER\n", "{done:?}");
    let slept = runner.send(Method::POST, &format!("{}/sleep", workspace.routes.base()), "").await;
    assert_eq!(slept.status, StatusCode::OK, "{slept:?}");
    let kept = || {
        let names = std::fs::read_dir(runner.data().join("a/files/cwasm")).unwrap().flatten();
        names.filter(|entry| entry.file_name().to_string_lossy().ends_with(".cwasm")).count()
    };
    assert_eq!(kept(), 1);
    assert_eq!(workspace.sh("./program").await.stdout, "brought by a user\n");
    let slept = runner.send(Method::POST, &format!("{}/sleep", workspace.routes.base()), "").await;
    assert_eq!((slept.status, kept()), (StatusCode::OK, 1));
}
