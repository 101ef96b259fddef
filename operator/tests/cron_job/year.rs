//! A year of a controller's life, with two changes of the clocks: each instant has one run, at its instant.

use crate::world::World;
use jiff::{Timestamp, ToSpan, civil::date};
use operator::cron_job::run_name;
use serde_json::json;
use std::time::Duration;

/// The instants of the runs that began.
fn instants(world: &World) -> Vec<Timestamp> {
    let id = run_name::id("uid-of-nightly");
    world.runner.begun().iter().map(|name| run_name::instant_of(name, &id).unwrap()).collect()
}

async fn live_a_year(schedule: &str, time_zone: &str) -> World {
    let history = json!({ "succeeded": 1, "failed": 1 });
    let world =
        World::with_nightly(json!({ "schedule": schedule, "timeZone": time_zone, "history": history })).await;
    let mut operator = world.operator();
    operator.live(&world, "2027-03-01T00:00:00Z", Duration::from_secs(20)).await;
    assert_eq!(world.status().missed, None);
    world
}

/// Half past two each day in this zone; what clocks skip, at the instant they are set.
fn half_past_two(
    time_zone: &str,
    offset_of: impl Fn(jiff::civil::Date) -> (&'static str, &'static str),
) -> Vec<Timestamp> {
    let days = std::iter::successors(Some(date(2026, 3, 1)), |day| day.checked_add(1.day()).ok());
    let end: Timestamp = "2027-03-01T00:00:00Z".parse().unwrap();
    let instants = days.map(|day| {
        let (time, offset) = offset_of(day);
        format!("{day}T{time}{offset}").parse::<Timestamp>().unwrap()
    });
    let start: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
    let all: Vec<_> = instants.skip_while(|at| *at <= start).take_while(|at| *at < end).collect();
    assert!(all.len() >= 364, "{time_zone}: {}", all.len());
    all
}

#[tokio::test(start_paused = true)]
async fn a_nightly_run_in_paris() {
    let world = live_a_year("30 2 * * *", "Europe/Paris").await;
    let (spring, autumn) = (date(2026, 3, 29), date(2026, 10, 25));
    let expected = half_past_two("Europe/Paris", |day| match day {
        day if day == spring => ("03:00:00", "+02:00"),
        // The first of two.
        day if day > spring && day <= autumn => ("02:30:00", "+02:00"),
        _ => ("02:30:00", "+01:00"),
    });
    assert_eq!(instants(&world), expected);
}

#[tokio::test(start_paused = true)]
async fn a_nightly_run_in_new_york() {
    let world = live_a_year("30 2 * * *", "America/New_York").await;
    let (spring, autumn) = (date(2026, 3, 8), date(2026, 11, 1));
    let expected = half_past_two("America/New_York", |day| match day {
        day if day == spring => ("03:00:00", "-04:00"),
        day if day > spring && day < autumn => ("02:30:00", "-04:00"),
        _ => ("02:30:00", "-05:00"),
    });
    assert_eq!(instants(&world), expected);
}

#[tokio::test(start_paused = true)]
async fn a_nightly_run_where_clocks_are_off_by_a_quarter_of_an_hour() {
    let world = live_a_year("30 2 * * *", "Asia/Kathmandu").await;
    assert_eq!(instants(&world), half_past_two("Asia/Kathmandu", |_| ("02:30:00", "+05:45")));
}

#[tokio::test(start_paused = true)]
async fn an_hourly_run_over_both_changes_of_the_clocks() {
    for (from, to) in
        [("2026-03-28T00:00:00Z", "2026-03-31T00:00:00Z"), ("2026-10-24T00:00:00Z", "2026-10-27T00:00:00Z")]
    {
        let world = World::new().await;
        world.set_clock(from);
        world.put_nightly(json!({ "schedule": "*/20 * * * *", "timeZone": "Europe/Paris" }));
        world.operator().live(&world, to, Duration::from_secs(20)).await;
        let instants = instants(&world);
        assert_eq!(instants.len(), 3 * 72 - 1, "the last is the end itself");
        assert!(instants.windows(2).all(|pair| pair[1].duration_since(pair[0]).as_secs() == 1200));
    }
}
