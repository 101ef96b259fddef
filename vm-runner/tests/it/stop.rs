//! A supervisor that is told to stop while it is busy.
#![expect(clippy::disallowed_methods, reason = "tests connect to what should not listen any more")]

use std::time::{Duration, Instant};

use http::StatusCode;
use vm_api::{ExecRequest, route};

use crate::runner::{Runner, signal};

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn what_is_under_way_is_answered_and_what_comes_later_is_refused() {
    let mut runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    workspace.sh("true").await;
    let (mut kept, _driver) = runner.connect().await;
    let ready = http::Request::get(route::READYZ).header("host", "test").body(Default::default()).unwrap();
    assert_eq!(kept.send_request(ready.clone()).await.unwrap().status(), StatusCode::OK);
    let under_way = ExecRequest::command("sleep 0.5; echo kept > kept; echo done");
    let stop = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        signal(runner.pid(), "TERM");
        tokio::time::sleep(Duration::from_millis(100)).await;
        // An idle connection is closed, and nobody gets a new one: whoever asks tries again elsewhere.
        assert!(kept.send_request(ready).await.is_err());
        assert!(tokio::net::UnixStream::connect(runner.socket()).await.is_err());
    };
    let (answer, ()) = tokio::join!(workspace.exec(&under_way), stop);
    assert_eq!((answer.exit_code, answer.stdout.as_str()), (Some(0), "done\n"));
    runner.wait_for_the_end();
    runner.restart().await;
    let workspace = runner.workspace("a").await;
    assert_eq!(workspace.sh("cat kept").await.stdout, "kept\n");
}

#[tokio::test]
#[ignore = "takes minutes: --ignored stop::many, alone"]
async fn many_vms_are_stopped_in_parallel() {
    let many: usize = 50;
    let mut runner = Runner::start_with(&["--spares", "4"]).await;
    for number in 0..many {
        let workspace = runner.workspace(&format!("u{number}")).await;
        workspace.sh("echo kept > kept").await;
    }
    let started = Instant::now();
    runner.terminate();
    let took = started.elapsed();
    println!("{many} VMs were stopped in {took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    runner.restart().await;
    let last = runner.workspace(&format!("u{}", many - 1)).await;
    assert_eq!(last.sh("cat kept").await.stdout, "kept\n");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_command_that_takes_longer_than_the_grace_is_told_to_end_and_answered() {
    let mut runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    workspace.sh("true").await;
    let lasting = ExecRequest::command("echo begun; sleep 1000");
    let stop = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        signal(runner.pid(), "TERM");
    };
    let started = Instant::now();
    let (answer, ()) = tokio::join!(workspace.exec(&lasting), stop);
    assert_eq!((answer.stdout.as_str(), answer.signal.as_deref()), ("begun\n", Some("SIGTERM")));
    assert!(started.elapsed() >= Duration::from_secs(2), "requests get --stop-grace");
    runner.wait_for_the_end();
}
