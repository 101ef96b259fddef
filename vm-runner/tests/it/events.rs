//! What happens in a workspace, kept by the supervisor: also while it sleeps, and over its VMs.

use std::time::Duration;

use http::Method;
use vm_api::{
    LoggedEvent, Power, ProcessInfo, ProcessRequest, SleepReason, VmEvent, WakeCause, WorkspaceState,
};

use crate::process_stream::Stream;
use crate::runner::{Runner, Workspace};

async fn follow(workspace: &Workspace<'_>, after: u64) -> Stream {
    let path = format!("{}?after={after}", workspace.routes.events());
    workspace.runner.stream(Method::GET, &path, "").await
}

async fn next(stream: &mut Stream) -> (u64, VmEvent) {
    let (id, logged) = stream.next::<LoggedEvent>().await.unwrap();
    assert!(logged.at.ends_with('Z'), "{logged:?}");
    (id, logged.event)
}

async fn start(workspace: &Workspace<'_>, command: &str) -> i32 {
    let request = ProcessRequest { command: Some(command.to_owned()), ..ProcessRequest::default() };
    let answer = workspace.runner.post(&workspace.routes.processes(), &request).await;
    answer.json::<ProcessInfo>().pid
}

async fn sleep(workspace: &Workspace<'_>) -> WorkspaceState {
    workspace.runner.send(Method::POST, &workspace.routes.sleep(), "").await.json()
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn events_tell_what_happens_and_can_be_taken_up_again() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let pid = start(&workspace, "echo hello; exit 2").await;
    let mut stream = follow(&workspace, 0).await;
    let (first, event) = next(&mut stream).await;
    assert!(matches!(event, VmEvent::VmBooted { cause: WakeCause::Exec, .. }), "{event:?}");
    let (_, event) = next(&mut stream).await;
    assert!(matches!(event, VmEvent::ProcessStarted { pid: started, .. } if started == pid), "{event:?}");
    assert_eq!(next(&mut stream).await.1, VmEvent::ProcessOutput { pid, seq: 6 });
    let (last, event) = next(&mut stream).await;
    assert!(
        matches!(&event, VmEvent::ProcessExit { pid: ended, exit } if *ended == pid && exit.exit_code == Some(2))
    );
    assert_eq!((first, last), (1, 4));
    // What comes next comes at once.
    let another = start(&workspace, "true").await;
    let (_, event) = next(&mut stream).await;
    assert!(matches!(event, VmEvent::ProcessStarted { pid, .. } if pid == another), "{event:?}");
    let (number, event) = next(&mut follow(&workspace, 3).await).await;
    assert!(number == 4 && matches!(event, VmEvent::ProcessExit { .. }), "{event:?}");
    let problem = runner.get(&format!("{}?after=999", workspace.routes.events())).await.problem();
    assert_eq!(problem.code, "invalid-query");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn who_follows_events_neither_wakes_a_workspace_nor_keeps_it_awake() {
    let runner = Runner::start().await;
    let workspace = runner.workspace_with("a", |config| config.idle.sleep_after_ms = Some(300)).await;
    let mut stream = follow(&workspace, 0).await;
    assert_eq!(workspace.state().await.sleep, Some(SleepReason::NotStarted));
    assert!(!runner.data().join("a/state.db").exists(), "nothing ran in it yet");
    workspace.sh("true").await;
    assert!(matches!(next(&mut stream).await, (1, VmEvent::VmBooted { .. })));
    let (id, event) = next(&mut stream).await;
    assert_eq!((id, event), (2, VmEvent::VmShutdown { reason: Some(SleepReason::Idle), message: None }));
    assert_eq!(workspace.wait_for(Power::Asleep).await.sleep, Some(SleepReason::Idle));
    // It is read again from what was kept, and still sleeps.
    let mut again = follow(&workspace, 1).await;
    assert_eq!(next(&mut again).await.0, 2);
    assert_eq!(workspace.state().await.power, Power::Asleep);
    workspace.sh("true").await;
    assert!(matches!(next(&mut stream).await, (3, VmEvent::VmBooted { .. })));
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn ids_grow_over_vms_and_supervisors() {
    let mut runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let pid = start(&workspace, "sleep 1000").await;
    assert_eq!(sleep(&workspace).await.power, Power::Asleep);
    let mut stream = follow(&workspace, 0).await;
    for _ in 0..2 {
        next(&mut stream).await;
    }
    let (id, event) = next(&mut stream).await;
    assert!(matches!(&event, VmEvent::ProcessExit { pid: ended, .. } if *ended == pid), "{event:?}");
    let (last, event) = next(&mut stream).await;
    assert_eq!((id, last), (3, 4));
    assert_eq!(event, VmEvent::VmShutdown { reason: Some(SleepReason::OnDemand), message: None });
    workspace.sh("true").await;
    assert!(matches!(next(&mut stream).await, (5, VmEvent::VmBooted { .. })));
    drop(stream);
    // It cannot say that the VM is gone; the next one does.
    runner.kill();
    runner.restart().await;
    let workspace = runner.workspace("a").await;
    let mut stream = follow(&workspace, 5).await;
    let (id, event) = next(&mut stream).await;
    assert!(matches!(&event, VmEvent::VmShutdown { reason: None, message: Some(_) }), "{event:?}");
    assert_eq!(id, 6);
    workspace.sh("true").await;
    assert!(matches!(next(&mut stream).await, (7, VmEvent::VmBooted { .. })));
    // In order it does.
    runner.terminate();
    while stream.next::<LoggedEvent>().await.is_some() {}
    runner.restart().await;
    let workspace = runner.workspace("a").await;
    let (id, event) = next(&mut follow(&workspace, 7).await).await;
    assert_eq!((id, event), (8, VmEvent::VmShutdown { reason: None, message: None }));
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_stream_of_events_ends_with_its_workspace() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    workspace.sh("true").await;
    let mut stream = follow(&workspace, 0).await;
    runner.send(Method::DELETE, workspace.routes.base(), "").await;
    let rest = async { while stream.next::<LoggedEvent>().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(20), rest).await.unwrap();
    let anew = runner.workspace("a").await;
    anew.sh("true").await;
    assert!(matches!(next(&mut follow(&anew, 0).await).await, (1, VmEvent::VmBooted { .. })));
}
