//! While the API server is away, whoever was let in a moment ago goes on as if nothing were, and nobody else is let in.

use std::time::{Duration, Instant};

use gateway::config::{Limits, Timeouts};

use crate::support::api_server::Trouble;
use crate::support::runner::echo;
use crate::support::world::{World, exec};

/// Every way in which an API server can be away. One that has just begun answers 401 and 403 to everybody.
const TROUBLES: [Trouble; 7] = [
    Trouble::Refuses,
    Trouble::Hangs,
    Trouble::Answers(401),
    Trouble::Answers(403),
    Trouble::Answers(429),
    Trouble::Answers(500),
    Trouble::Answers(503),
];
const OUTAGE: Duration = Duration::from_secs(3);
/// Whoever was known waits for an API server that is silent once for a token, once for a permission.
const MOST_WAIT: Duration = Duration::from_millis(2_700);
const SOON: Duration = Duration::from_secs(3);

/// Answers are hardly remembered, so that every request of an outage has to ask.
fn forgetful() -> Timeouts {
    let (token, allowed) = (Duration::from_millis(50), Duration::from_millis(50));
    Timeouts { token, allowed, ..Timeouts::default() }
}

#[tokio::test]
async fn who_is_known_is_served_all_the_time_and_waits_at_most_once() {
    futures::future::join_all(TROUBLES.map(|trouble| async move {
        let (world, _runner) = World::usual_with(echo(), forgetful(), Limits::default()).await;
        let mut connection = world.connect(None).await;
        assert_eq!(connection.send(exec("ada")).await.status, 200);
        world.api.set_trouble(Some(trouble));
        tokio::time::sleep(Duration::from_millis(60)).await;
        let (began, mut slow) = (Instant::now(), 0);
        while began.elapsed() < OUTAGE {
            let asked = Instant::now();
            let answered = connection.send(exec("ada")).await;
            assert_eq!(answered.status, 200, "{trouble:?}: {answered:?}");
            assert!(asked.elapsed() < MOST_WAIT, "{trouble:?}: {:?}", asked.elapsed());
            slow += usize::from(asked.elapsed() > Duration::from_millis(900));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(slow <= usize::from(trouble == Trouble::Hangs), "{trouble:?}: {slow} waited");
    }))
    .await;
}

#[tokio::test]
async fn nobody_new_is_let_in() {
    for trouble in [Trouble::Refuses, Trouble::Answers(403)] {
        let (world, _runner) = World::usual_with(echo(), forgetful(), Limits::default()).await;
        world.api.set_trouble(Some(trouble));
        let answered = world.send(exec("ada")).await;
        assert_eq!((answered.status, answered.code().as_str()), (503, "authentication-unavailable"));
    }
}

#[tokio::test]
async fn what_was_withdrawn_in_an_outage_ends_soon_after_it() {
    let (world, _runner) = World::usual_with(echo(), forgetful(), Limits::default()).await;
    let mut connection = world.connect(None).await;
    assert_eq!(connection.send(exec("ada")).await.status, 200);
    world.api.set_trouble(Some(Trouble::Refuses));
    world.api.revoke_token("jane-token");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(connection.send(exec("ada")).await.status, 200, "nobody can say that it was revoked");
    world.api.set_trouble(None);
    let began = Instant::now();
    while connection.send(exec("ada")).await.status == 200 {
        assert!(began.elapsed() < SOON, "it still counts");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
