//! Electing a leader, with the Lease in an API server in memory.

use crate::api_server::ApiServer;
use http::{Method, StatusCode};
use operator::lease::Elector;
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, timeout};

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/lodge-system/leases/lodge-operator";
const DURATION: Duration = Duration::from_secs(15);
/// The timer ticks in milliseconds.
const MOMENT: Duration = Duration::from_millis(10);

fn replica(api: &ApiServer, identity: &str) -> Elector {
    Elector::new(api.client(), "lodge-system", identity.to_owned(), DURATION)
}

fn holder(api: &ApiServer) -> serde_json::Value {
    api.get(LEASE).unwrap()["spec"]["holderIdentity"].clone()
}

#[tokio::test(start_paused = true)]
async fn one_replica_leads_and_the_other_waits_until_it_is_released() {
    let api = ApiServer::default();
    let (one, other) = (replica(&api, "one"), replica(&api, "other"));
    let held = one.acquire().await;
    assert_eq!(holder(&api), "one");
    assert!(timeout(DURATION / 2, other.acquire()).await.is_err());
    one.release(held).await.unwrap();
    let before = Instant::now();
    other.acquire().await;
    assert!(before.elapsed() <= DURATION / 8, "{:?}", before.elapsed());
    assert_eq!(holder(&api), "other");
    assert_eq!(api.get(LEASE).unwrap()["spec"]["leaseTransitions"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_renewed_is_never_taken_over() {
    let api = ApiServer::default();
    let (one, other) = (replica(&api, "one"), replica(&api, "other"));
    let mut held = one.acquire().await;
    tokio::select! {
        () = one.hold(&mut held) => panic!("it was lost"),
        _ = other.acquire() => panic!("it was taken over"),
        () = tokio::time::sleep(DURATION * 10) => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops_before_another_may_start() {
    let api = ApiServer::default();
    let (one, other) = (replica(&api, "one"), replica(&api, "other"));
    let mut held = one.acquire().await;
    api.fail(Method::PUT, "leases", StatusCode::INTERNAL_SERVER_ERROR, 1000);
    let start = Instant::now();
    one.hold(&mut held).await;
    let stopped = start.elapsed();
    assert!(stopped < DURATION, "{stopped:?}");
    assert!(timeout(DURATION * 2, other.acquire()).await.is_err(), "it can't write either");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_was_replaced_notices_at_its_next_renewal() {
    let api = ApiServer::default();
    let one = replica(&api, "one");
    let mut held = one.acquire().await;
    let mut lease = api.get(LEASE).unwrap();
    lease["spec"]["holderIdentity"] = json!("other");
    api.put(LEASE, lease);
    let start = Instant::now();
    one.hold(&mut held).await;
    assert!(start.elapsed() <= DURATION / 2);
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_requests_are_never_answered_stops_in_time() {
    const NEVER: Duration = Duration::from_secs(86_400);
    for (method, conflicts) in [(Method::PUT, 0), (Method::GET, 1000)] {
        let api = ApiServer::default();
        let one = replica(&api, "one");
        let start = Instant::now();
        let mut held = one.acquire().await;
        // With a conflict it is the read that follows which hangs.
        api.fail(Method::PUT, "leases", StatusCode::CONFLICT, conflicts);
        api.delay(method.clone(), NEVER);
        one.hold(&mut held).await;
        assert!(start.elapsed() <= DURATION * 2 / 3 + MOMENT, "{method}: {:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_held_from_before_it_was_written() {
    let api = ApiServer::default();
    let one = replica(&api, "one");
    let late = Duration::from_secs(4);
    api.delay(Method::POST, late);
    let start = Instant::now();
    let mut held = one.acquire().await;
    assert!(start.elapsed() >= late, "the answer was late");
    api.fail(Method::PUT, "leases", StatusCode::INTERNAL_SERVER_ERROR, 1000);
    one.hold(&mut held).await;
    assert!(start.elapsed() <= DURATION * 2 / 3 + MOMENT, "{:?}", start.elapsed());
}
