//! Schedules against expectations that don't come from the code under test: lists written by hand, and a clock that goes
//! through a year second by second.

use super::{zone::Zones, *};
use jiff::civil::{Weekday, date};
use proptest::prelude::*;

fn zone(name: &str) -> TimeZone {
    Zones::default().get(name).unwrap()
}

fn timetable(schedule: &str, zone_name: &str) -> Timetable {
    Timetable::parse(schedule, zone(zone_name), Timestamp::UNIX_EPOCH).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The instants in a range, the end included.
fn between(timetable: &Timetable, after: Timestamp, last: Timestamp) -> Vec<Timestamp> {
    let next = |at: &Timestamp| timetable.next(*at);
    std::iter::successors(timetable.next(after), next).take_while(|instant| *instant <= last).collect()
}

/// The local times, with their offsets, at which a schedule fires on a day.
fn on(schedule: &str, zone_name: &str, year: i16, month: i8, day: i8) -> Vec<String> {
    let zone = zone(zone_name);
    let midnight = |day: jiff::civil::Date| day.to_zoned(zone.clone()).unwrap().timestamp();
    let day = date(year, month, day);
    let (first, end) = (midnight(day), midnight(day.tomorrow().unwrap()));
    let before = first - SignedDuration::from_secs(1);
    let instants = between(&timetable(schedule, zone_name), before, end - SignedDuration::from_secs(1));
    let local = |instant: &Timestamp| instant.to_zoned(zone.clone()).strftime("%H:%M%:z").to_string();
    instants.iter().map(local).collect()
}

#[test]
fn a_time_that_clocks_skip_fires_once_when_they_are_set() {
    // Paris, 29 March 2026: 02:00 becomes 03:00.
    assert_eq!(on("30 2 * * *", "Europe/Paris", 2026, 3, 29), ["03:00+02:00"]);
    assert_eq!(on("0,30 2 * * *", "Europe/Paris", 2026, 3, 29), ["03:00+02:00"]);
    assert_eq!(on("0 2,14 * * *", "Europe/Paris", 2026, 3, 29), ["03:00+02:00", "14:00+02:00"]);
    assert_eq!(
        on("30 1-4 * * *", "Europe/Paris", 2026, 3, 29),
        ["01:30+01:00", "03:00+02:00", "03:30+02:00", "04:30+02:00"]
    );
    assert_eq!(on("30 2 * * *", "Europe/Paris", 2026, 3, 28), ["02:30+01:00"]);
    assert_eq!(on("30 2 * * *", "Europe/Paris", 2026, 3, 30), ["02:30+02:00"]);
    // New York, 8 March 2026.
    assert_eq!(on("15 2 * * *", "America/New_York", 2026, 3, 8), ["03:00-04:00"]);
    // Lord Howe Island, 4 October 2026: half an hour only, 02:00 becomes 02:30.
    assert_eq!(on("15 2 * * *", "Australia/Lord_Howe", 2026, 10, 4), ["02:30+11:00"]);
    // Santiago, 6 September 2026: midnight itself is skipped.
    assert_eq!(on("@daily", "America/Santiago", 2026, 9, 6), ["01:00-03:00"]);
}

#[test]
fn a_time_that_comes_twice_fires_the_first_time() {
    // Paris, 25 October 2026: 03:00 becomes 02:00.
    assert_eq!(on("30 2 * * *", "Europe/Paris", 2026, 10, 25), ["02:30+02:00"]);
    assert_eq!(
        on("0,59 2,3 * * *", "Europe/Paris", 2026, 10, 25),
        ["02:00+02:00", "02:59+02:00", "03:00+01:00", "03:59+01:00"]
    );
    // New York, 1 November 2026.
    assert_eq!(on("15 1 * * *", "America/New_York", 2026, 11, 1), ["01:15-04:00"]);
    // Lord Howe Island, 5 April 2026: 02:00 becomes 01:30.
    assert_eq!(on("45 1 * * *", "Australia/Lord_Howe", 2026, 4, 5), ["01:45+11:00"]);
}

#[test]
fn intervals_go_by_elapsed_time() {
    assert_eq!(on("30 * * * *", "Europe/Paris", 2026, 3, 29).len(), 23);
    assert_eq!(on("30 * * * *", "Europe/Paris", 2026, 10, 25).len(), 25);
    assert_eq!(on("*/15 2 * * *", "Europe/Paris", 2026, 3, 29), [""; 0]);
    let twice = on("*/30 2 * * *", "Europe/Paris", 2026, 10, 25);
    assert_eq!(twice, ["02:00+02:00", "02:30+02:00", "02:00+01:00", "02:30+01:00"]);
    let instants = between(
        &timetable("*/20 * * * *", "America/New_York"),
        at("2026-11-01T04:00:00Z"),
        at("2026-11-01T08:00:00Z"),
    );
    assert!(instants.windows(2).all(|pair| pair[1].duration_since(pair[0]) == SignedDuration::from_mins(20)));
}

/// What a clock on a wall shows.
struct Tick {
    instant: Timestamp,
    local: DateTime,
    /// What it would show if it had not been set since the minute before.
    unset: DateTime,
}

/// Every minute of a year, as a clock on a wall in this zone shows it.
fn minutes_of_2026(zone: &TimeZone) -> Vec<Tick> {
    let (first, last) = (at("2026-01-01T00:00:00Z"), at("2026-12-31T23:59:00Z"));
    let count = last.duration_since(first).as_secs() / 60;
    let tick = |minute| {
        let instant = first + SignedDuration::from_mins(minute);
        let before = zone.to_offset(instant - SignedDuration::from_mins(1));
        Tick { instant, local: zone.to_datetime(instant), unset: before.to_datetime(instant) }
    };
    (0..=count).map(tick).collect()
}

/// When a schedule should fire in a year, found by looking at the clock every minute. `matches_fn` is the schedule.
fn by_looking(year: &[Tick], is_fixed: bool, matches_fn: fn(DateTime) -> bool) -> Vec<Timestamp> {
    let mut expected = Vec::new();
    let mut latest = DateTime::MIN;
    for Tick { instant, local, unset } in year {
        // Minutes that the clock didn't show.
        let skipped = std::iter::successors(Some(*unset), |at| at.checked_add(1.minute()).ok());
        let is_made_up = is_fixed && unset < local && skipped.take_while(|at| at < local).any(matches_fn);
        if is_made_up || (matches_fn(*local) && !(is_fixed && *local <= latest)) {
            expected.push(*instant);
        }
        latest = latest.max(*local);
    }
    expected
}

#[test]
fn a_year_with_two_changes_of_the_clocks_is_as_a_clock_on_the_wall_shows_it() {
    type Case = (&'static str, bool, fn(DateTime) -> bool);
    let cases: [Case; 9] = [
        ("30 2 * * *", true, |at| (at.hour(), at.minute()) == (2, 30)),
        ("15 1,2,3 * * *", true, |at| (1..=3).contains(&at.hour()) && at.minute() == 15),
        ("0 0 * * *", true, |at| (at.hour(), at.minute()) == (0, 0)),
        ("*/7 * * * *", false, |at| at.minute() % 7 == 0),
        ("5 */2 * * *", false, |at| at.hour() % 2 == 0 && at.minute() == 5),
        ("* 2 * * *", false, |at| at.hour() == 2),
        ("0 12 13 * FRI", true, |at| {
            (at.hour(), at.minute()) == (12, 0) && (at.day() == 13 || at.date().weekday() == Weekday::Friday)
        }),
        ("10 2 L 3,10 *", true, |at| {
            (at.hour(), at.minute()) == (2, 10) && at.day() == 31 && [3, 10].contains(&at.month())
        }),
        ("20 1 ? * SUN#L", true, |at| {
            let is_last = at.date().weekday() == Weekday::Sunday && at.day() + 7 > at.days_in_month();
            (at.hour(), at.minute()) == (1, 20) && is_last
        }),
    ];
    let zones = [
        "Europe/Paris",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "America/Santiago",
        "UTC",
    ];
    for zone_name in zones {
        let year = minutes_of_2026(&zone(zone_name));
        for (schedule, is_fixed, matches_fn) in cases {
            let before = at("2025-12-31T23:59:59Z");
            let found = between(&timetable(schedule, zone_name), before, at("2026-12-31T23:59:00Z"));
            let expected = by_looking(&year, is_fixed, matches_fn);
            assert_eq!(found, expected, "{schedule} in {zone_name}");
            assert!(!found.is_empty());
        }
    }
}

#[test]
fn values_are_written_in_every_usual_way() {
    let first = at("2026-01-01T00:00:00Z");
    let next = |schedule: &str| timetable(schedule, "UTC").next(first).unwrap().to_string();
    for (schedule, expected) in [
        ("5 4 * * *", "2026-01-01T04:05:00Z"),
        ("10 5 4 * * *", "2026-01-01T04:05:10Z"),
        ("* * * * * *", "2026-01-01T00:00:01Z"),
        ("5/15 * * * *", "2026-01-01T00:05:00Z"),
        ("10-40/15 1 * * *", "2026-01-01T01:10:00Z"),
        ("0 0 1 feb ?", "2026-02-01T00:00:00Z"),
        ("0 0 ? * Mon", "2026-01-05T00:00:00Z"),
        ("0 0 * * 7", "2026-01-04T00:00:00Z"),
        ("0 0 * * 5-7", "2026-01-02T00:00:00Z"),
        ("0 0 * * SAT-SUN", "2026-01-03T00:00:00Z"),
        ("0 0 * * SUN", "2026-01-04T00:00:00Z"),
        ("0 0 L * *", "2026-01-31T00:00:00Z"),
        ("0 0 l,15 2 *", "2026-02-15T00:00:00Z"),
        ("0 0 * * FRI#2", "2026-01-09T00:00:00Z"),
        ("0 0 * * 5#L", "2026-01-30T00:00:00Z"),
        ("0 0 * * friL", "2026-01-30T00:00:00Z"),
        ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
        ("0 0 * 2 MON#5", "2044-02-29T00:00:00Z"),
        ("@yearly", "2027-01-01T00:00:00Z"),
        ("@annually", "2027-01-01T00:00:00Z"),
        ("@monthly", "2026-02-01T00:00:00Z"),
        ("@weekly", "2026-01-04T00:00:00Z"),
        ("@midnight", "2026-01-02T00:00:00Z"),
        ("@hourly", "2026-01-01T01:00:00Z"),
    ] {
        assert_eq!(next(schedule), expected, "{schedule}");
    }
}

#[test]
fn either_of_day_and_weekday_is_enough_unless_one_is_a_star() {
    let days = |schedule: &str| {
        let instants =
            between(&timetable(schedule, "UTC"), at("2026-01-31T23:59:59Z"), at("2026-02-28T23:59:59Z"));
        instants.iter().map(|instant| TimeZone::UTC.to_datetime(*instant).day()).collect::<Vec<_>>()
    };
    assert_eq!(days("0 0 13 * FRI"), [6, 13, 20, 27]);
    assert_eq!(days("0 0 14 * FRI"), [6, 13, 14, 20, 27]);
    assert_eq!(days("0 0 * * FRI"), [6, 13, 20, 27]);
    assert_eq!(days("0 0 14 * *"), [14]);
    assert_eq!(days("0 0 ? * SAT-SUN"), [1, 7, 8, 14, 15, 21, 22, 28]);
    assert_eq!(days("0 0 ? * MON-SUN").len(), 28);
    assert_eq!(days("0 0 */10 * FRI"), [1, 6, 11, 13, 20, 21, 27], "as in batch/v1, only a bare star counts");
}

#[test]
fn every_so_often_counts_from_the_creation() {
    let anchor = at("2026-01-01T08:00:07.9Z");
    let every = |text: &str| Timetable::parse(text, TimeZone::UTC, anchor).unwrap();
    let next = |text: &str, after: &str| every(text).next(at(after)).unwrap().to_string();
    assert_eq!(next("@every 5m", "2026-01-01T00:00:00Z"), "2026-01-01T08:05:07Z", "not before it exists");
    assert_eq!(next("@every 5m", "2026-01-01T08:00:07Z"), "2026-01-01T08:05:07Z");
    assert_eq!(next("@every 5m", "2026-01-01T08:05:06.9Z"), "2026-01-01T08:05:07Z");
    assert_eq!(next("@every 5m", "2026-01-01T08:05:07Z"), "2026-01-01T08:10:07Z");
    assert_eq!(next("@every 1h30m", "2026-03-29T02:00:00Z"), "2026-03-29T02:00:07Z");
    for wrong in ["@every 0s", "@every 500ms", "@every 1s500ms", "@every x", "@every m5"] {
        assert!(Timetable::parse(wrong, TimeZone::UTC, anchor).is_err(), "{wrong}");
    }
}

#[test]
fn what_is_wrong_is_named_with_the_way_out() {
    for (schedule, words) in [
        ("60 * * * *", "minute: \"60\" is no number from 0 to 59"),
        ("* 24 * * *", "hour: \"24\""),
        ("* * 0 * *", "day of the month: \"0\""),
        ("* * * 13 *", "month: \"13\" is no number from 1 to 12 or a name such as JAN"),
        ("* * * * 8", "weekday: \"8\""),
        ("* * * * MON-SUNDAY", "weekday: \"SUNDAY\""),
        ("60 * * * * *", "second: \"60\""),
        ("5-1 * * * *", "minute: 5-1 ends before it begins"),
        ("*/0 * * * *", "minute: \"0\" is no step: write 1 to 59"),
        ("*/ * * * *", "minute: \"\" is no step"),
        ("1,,2 * * * *", "minute: \"\" is no number"),
        ("? * * * *", "minute: \"?\""),
        ("* * * * FRI#6", "write 1 to 5, or L"),
        ("* * * * L", "weekday: \"L\""),
        ("* * 15W * *", "day of the month: \"15W\""),
        ("* * * *", "4 fields: write five"),
        ("@never", "\"@never\" is no macro"),
        ("0 0 30 2 *", "\"0 0 30 2 *\" never comes"),
        ("0 0 31 4,6,9,11 *", "never comes"),
        ("0 0 31 2 ?", "never comes"),
    ] {
        let error = Timetable::parse(schedule, TimeZone::UTC, Timestamp::UNIX_EPOCH).unwrap_err().to_string();
        assert!(error.contains(words), "{schedule}: {error}");
    }
}

/// Schedules that the CRD's rule admits and that often make sense.
fn schedules() -> impl Strategy<Value = String> {
    let field = |least: u32, most: u32| {
        prop_oneof![
            3 => Just("*".to_owned()),
            3 => (least..=most).prop_map(|n| n.to_string()),
            1 => (1..=most).prop_map(|step| format!("*/{step}")),
            1 => (least..=most, least..=most).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
            1 => prop::collection::vec(least..=most, 2..4).prop_map(|all| {
                all.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
            }),
        ]
    };
    (field(0, 59), field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7), any::<bool>())
        .prop_map(|(second, minute, hour, day, month, weekday, has_seconds)| {
            let fields = format!("{minute} {hour} {day} {month} {weekday}");
            if has_seconds { format!("{second} {fields}") } else { fields }
        })
}

/// Whether a field admits a number, read in another way than the code under test does.
fn admits(field: &str, number: i8, most: i8) -> bool {
    field.split(',').any(|element| {
        let (range, step) =
            element.split_once('/').map_or((element, 1), |(range, step)| (range, step.parse().unwrap()));
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (first.parse().unwrap(), last.parse().unwrap()),
            None if range == "*" => (i8::from(most == 31 || most == 12), most),
            None => (range.parse().unwrap(), range.parse().unwrap()),
        };
        number >= first && number <= last && (number - first) % step == 0
    })
}

fn matches(schedule: &str, local: DateTime) -> bool {
    let fields: Vec<_> = schedule.split(' ').collect();
    let (second, rest) = if fields.len() == 6 { (fields[0], &fields[1..]) } else { ("0", &fields[..]) };
    let weekday = local.weekday().to_sunday_zero_offset();
    let by_day = admits(rest[2], local.day(), 31);
    let by_weekday = admits(rest[4], weekday, 6)
        || (weekday == 0 && rest[4] != "*" && !rest[4].starts_with("*/") && admits(rest[4], 7, 7));
    let is_any = |field: &str| field == "*" || field == "*/1";
    let day = if is_any(rest[2]) || is_any(rest[4]) { by_day && by_weekday } else { by_day || by_weekday };
    admits(second, local.second(), 59)
        && admits(rest[0], local.minute(), 59)
        && admits(rest[1], local.hour(), 23)
        && admits(rest[3], local.month(), 12)
        && day
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_next_instant_is_later_matches_and_leaves_none_out(
        schedule in schedules(),
        second in 1_700_000_000_i64..1_900_000_000,
        zone_name in prop::sample::select(vec!["UTC", "Europe/Paris", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]),
    ) {
        let zone = zone(zone_name);
        let after = Timestamp::from_second(second).unwrap();
        let Ok(timetable) = Timetable::parse(&schedule, zone.clone(), after) else { return Ok(()) };
        let next = timetable.next(after).unwrap();
        prop_assert!(next > after);
        let local = zone.to_datetime(next);
        let is_end_of_gap = zone.preceding(next + SignedDuration::from_secs(1)).next().is_some_and(|set| set.timestamp() == next);
        prop_assert!(is_end_of_gap || matches(&schedule, local), "{schedule} at {local}");
        // Whoever asks from a later moment before it gets the same.
        let between = after + (next.duration_since(after) / 2);
        prop_assert_eq!(timetable.next(between), Some(next));
        let last = next.as_second().min(second + 1000);
        for earlier in second + 1..last {
            let local = zone.to_datetime(Timestamp::from_second(earlier).unwrap());
            let is_repeated = matches!(zone.to_ambiguous_timestamp(local).offset(), AmbiguousOffset::Fold { .. });
            prop_assert!(is_repeated || !matches(&schedule, local), "{schedule} left {local} out");
        }
    }

    #[test]
    fn no_text_does_harm(text in "[-0-9A-Za-z*/,?#@ ]{0,40}", second in 0_i64..4_000_000_000) {
        let after = Timestamp::from_second(second).unwrap();
        if let Ok(timetable) = Timetable::parse(&text, TimeZone::UTC, after) {
            prop_assert!(timetable.next(after).is_none_or(|next| next > after));
        }
    }
}

#[test]
fn what_never_comes_is_found_out_quickly_and_the_end_of_time_is_no_trouble() {
    let started = std::time::Instant::now();
    for _ in 0..100 {
        assert!(Timetable::parse("* * * 30 2 *", TimeZone::UTC, Timestamp::UNIX_EPOCH).is_err());
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    for schedule in ["@yearly", "* * * * * *", "@every 24h"] {
        let timetable = timetable(schedule, "Europe/Paris");
        let _ = timetable.next(Timestamp::MAX);
        let _ = timetable.next(Timestamp::MIN);
        assert_eq!(timetable.next(Timestamp::MAX), None, "{schedule}");
    }
}
