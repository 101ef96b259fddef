//! CPU time: who has used how much, and who runs next.
//!
//! The run loop (`poll.rs`) asks for a [`Turn`] before it polls a program and charges the process for the poll, so no
//! driver has to take part: it only returns from a poll now and then. What a poll costs is the thread's CPU time for
//! processes that compute much; for the others it is the time it took, which is cheaper to ask for.
//!
//! Two rules decide who runs. A VM with a quota that has used it up waits for the next period; what it overdrew it has
//! less then. And of the processes that have computed much lately, only as many run at once as there is CPU for, those
//! first whose command has used least ([`Share`]); the others wait here, not in the runtime's queue. So a process that
//! has used little, and whoever else lives on the runtime, gets its turn at once, however many others compute.
//!
//! This module knows no process and no program; it is given their [`CpuTime`].

mod load;
mod queue;
mod time;
mod turn;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};
use std::task::Waker;
use std::time::Duration;

use crate::clock::Clock;
use crate::mutex::Mutex;
use load::Load;
use queue::{Place, Queue, Queued};
pub(crate) use time::{CpuTime, Share};
pub(crate) use turn::Turn;

/// How often the quota is given out anew.
const PERIOD: u64 = 100_000_000;
/// A process that has used more than this lately computes much.
const HEAVY_PROCESS: u64 = 4_000_000;
/// So does one whose command has used more than this.
const HEAVY_SHARE: u64 = 20_000_000;
/// What a poll is charged at most if only the time it took is known: the host may have run something else.
const MAX_UNMEASURED: u64 = 4_000_000;

/// Gives turns and charges for them.
pub(crate) struct CpuGovernor {
    clock: Arc<dyn Clock>,
    /// How many can run at once at all.
    workers: usize,
    used: AtomicU64,
    /// When a process ran last, on the monotonic clock.
    last_ran: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Thousandths of a CPU that the VM may use; no limit if 0.
    millis: u32,
    /// When somebody last asked.
    now: Duration,
    period: u64,
    /// Nanoseconds of the period's quota that are left; less than none if it was overdrawn.
    left: i64,
    /// Nanoseconds that were used outside of turns, and are paid bit by bit.
    owed: i64,
    /// Turns that are taken by processes that compute much.
    taken: usize,
    next_ticket: u64,
    queue: Queue,
    /// Tickets whose turn has come, but whose process has not run yet.
    called: BTreeSet<u64>,
    /// Who of those that wait for the next period looks when it begins.
    watcher: Option<Place>,
    load: Load,
}

/// What a process that wants to run is told.
enum Admission {
    /// Run. `is_heavy` takes one of few turns.
    Go { is_heavy: bool },
    /// Wait at this place, or until then.
    Wait { place: Place, until: Duration },
}

impl CpuGovernor {
    /// One that gives so many thousandths of a CPU (0: any number), on a runtime with so many workers.
    pub(crate) fn new(clock: Arc<dyn Clock>, millis: u32, workers: usize) -> Self {
        let now = clock.monotonic();
        let mut inner = Inner { millis, now, period: nanos(now) / PERIOD, ..Inner::default() };
        inner.left = inner.quota();
        Self {
            clock,
            workers: workers.max(1),
            used: AtomicU64::new(0),
            last_ran: AtomicU64::new(nanos(now)),
            inner: Mutex::new(inner),
        }
    }

    /// Gives so many thousandths of a CPU from now on.
    pub(crate) fn set_millis(&self, millis: u32) {
        let mut inner = self.inner.lock();
        let before = inner.quota();
        inner.millis = millis;
        inner.left = inner.left.saturating_add(inner.quota().saturating_sub(before));
        let called = inner.call(self.workers);
        drop(inner);
        called.into_iter().for_each(Waker::wake);
    }

    /// All CPU time that was ever charged.
    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.used.load(Ordering::Relaxed))
    }

    /// How many processes that compute can run at once.
    pub(crate) fn cpus(&self) -> usize {
        self.inner.lock().lanes(self.workers)
    }

    /// How long ago a process ran.
    pub(crate) fn idle_for(&self) -> Duration {
        let last = Duration::from_nanos(self.last_ran.load(Ordering::Relaxed));
        self.clock.monotonic().saturating_sub(last)
    }

    /// How many processes ran or wanted to, over the last one, five and fifteen minutes.
    pub(crate) fn load_averages(&self) -> [f64; 3] {
        let now = self.clock.monotonic();
        self.inner.lock().load.averages(now)
    }

    /// Charges a process for time that nobody saw it run: its driver has a thread for it.
    pub(crate) fn charge(&self, time: &CpuTime, used: Duration) {
        let mut inner = self.inner.lock();
        inner.roll(self.clock.monotonic());
        self.add(&mut inner, time, nanos(used));
    }

    /// Charges a process for time that the host has used on its behalf, and that nobody could divide: up to half of each
    /// period's quota goes into it, and all that would be lost, so that the VM goes on meanwhile.
    pub(crate) fn owe(&self, time: &CpuTime, used: Duration) {
        let used = nanos(used);
        let mut inner = self.inner.lock();
        inner.roll(self.clock.monotonic());
        time.add(inner.period, used);
        if inner.millis != 0 {
            inner.owed = inner.owed.saturating_add(i64::try_from(used).unwrap_or(i64::MAX));
        }
        self.used.fetch_add(used, Ordering::Relaxed);
    }

    /// When a process that has just been charged may go on: at once if `None`.
    pub(crate) fn held_until(&self, time: &CpuTime) -> Option<Duration> {
        let mut inner = self.inner.lock();
        inner.roll(self.clock.monotonic());
        let may_run = inner.may_run(inner.is_heavy(time));
        (!may_run).then(|| inner.period_end())
    }

    fn admit(&self, time: &CpuTime, now: Duration, waker: &Waker) -> Admission {
        let mut inner = self.inner.lock();
        inner.roll(now);
        let is_heavy = inner.is_heavy(time);
        let has_turn = !is_heavy || (inner.taken < inner.lanes(self.workers) && inner.queue.is_empty());
        if has_turn && inner.may_run(is_heavy) {
            inner.taken += usize::from(is_heavy);
            return Admission::Go { is_heavy };
        }
        let place = inner.push(time, is_heavy, waker);
        self.look(inner, place)
    }

    /// A process that waits in the queue looks again.
    fn look_again(&self, place: Place, now: Duration, waker: &Waker) -> Admission {
        let mut inner = self.inner.lock();
        inner.roll(now);
        inner.queue.set_waker(place, waker);
        self.look(inner, place)
    }

    fn look(&self, mut inner: MutexGuard<'_, Inner>, place: Place) -> Admission {
        let called = inner.call(self.workers);
        let admission = if inner.called.remove(&place.ticket) {
            Admission::Go { is_heavy: true }
        } else {
            Admission::Wait { place, until: inner.period_end() }
        };
        drop(inner);
        called.into_iter().for_each(Waker::wake);
        admission
    }

    /// A turn is over: charges for it.
    fn finish(&self, time: &CpuTime, now: Duration, used: Duration, is_heavy: bool) {
        let mut inner = self.inner.lock();
        inner.roll(now);
        self.add(&mut inner, time, nanos(used));
        if is_heavy {
            self.give_back(inner);
        }
    }

    /// A turn is over, but the process wants another.
    fn finish_and_wait(&self, time: &CpuTime, now: Duration, used: Duration, waker: &Waker) -> Place {
        let mut inner = self.inner.lock();
        inner.roll(now);
        self.add(&mut inner, time, nanos(used));
        let place = inner.push(time, true, waker);
        self.give_back(inner);
        place
    }

    /// One more may run that computes much.
    fn give_back(&self, mut inner: MutexGuard<'_, Inner>) {
        inner.taken = inner.taken.saturating_sub(1);
        let called = inner.call(self.workers);
        drop(inner);
        called.into_iter().for_each(Waker::wake);
    }

    /// A process leaves the queue without having run.
    fn leave_queue(&self, place: Place) {
        let mut inner = self.inner.lock();
        if inner.queue.pop(place).is_none() && inner.called.remove(&place.ticket) {
            self.give_back(inner);
        } else {
            let called = inner.call(self.workers);
            drop(inner);
            called.into_iter().for_each(Waker::wake);
        }
    }

    fn add(&self, inner: &mut Inner, time: &CpuTime, used: u64) {
        time.add(inner.period, used);
        inner.left = inner.left.saturating_sub(i64::try_from(used).unwrap_or(i64::MAX));
        let now = inner.now;
        inner.load.add(now, used);
        self.used.fetch_add(used, Ordering::Relaxed);
        self.last_ran.store(nanos(now), Ordering::Relaxed);
    }
}

impl Inner {
    /// Nanoseconds per period.
    fn quota(&self) -> i64 {
        i64::from(self.millis) * (PERIOD / 1000).cast_signed()
    }

    fn push(&mut self, time: &CpuTime, is_heavy: bool, waker: &Waker) -> Place {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let queued = Queued { waker: waker.clone(), is_heavy, since: self.now };
        self.queue.push(&time.share, time.recent.get(self.period), ticket, queued)
    }

    /// How many processes that compute much run at once.
    fn lanes(&self, workers: usize) -> usize {
        let cpus = usize::try_from(self.millis.div_ceil(1000)).unwrap_or(usize::MAX);
        if self.millis == 0 { workers } else { cpus.min(workers) }
    }

    fn is_heavy(&self, time: &CpuTime) -> bool {
        time.recent.get(self.period) > HEAVY_PROCESS || time.share.recent.get(self.period) > HEAVY_SHARE
    }

    /// Whether the quota allows a process to run. One that has used little may overdraw it by a quarter: it has to wait
    /// only for its like.
    fn may_run(&self, is_heavy: bool) -> bool {
        let overdraft = if is_heavy { 0 } else { self.quota() / 4 };
        self.millis == 0 || self.left > -overdraft
    }

    fn period_end(&self) -> Duration {
        Duration::from_nanos(self.period.saturating_add(1).saturating_mul(PERIOD))
    }

    /// Gives out the quota of the periods that have begun. Nothing is saved up, but what was overdrawn or is owed stays.
    fn roll(&mut self, now: Duration) {
        self.now = self.now.max(now);
        let period = nanos(now) / PERIOD;
        let past = period.saturating_sub(self.period);
        if past == 0 {
            return;
        }
        self.period = period;
        let quota = self.quota();
        let given = quota.saturating_mul(i64::try_from(past).unwrap_or(i64::MAX));
        let left = self.left.saturating_add(given);
        let lost = left.saturating_sub(quota).max(0);
        let paid = self.owed.min(lost.saturating_add(quota / 2));
        self.owed -= paid;
        self.left = left.saturating_sub(paid).min(quota);
    }

    /// Calls those whose turn it is; if the quota is used up, one to wait for the next. They are to be woken without the
    /// lock.
    fn call(&mut self, workers: usize) -> Vec<Waker> {
        let mut called = Vec::new();
        while let Some((place, is_heavy)) = self.queue.first(self.period) {
            if !self.may_run(is_heavy) {
                let is_watched = self.watcher.is_some_and(|watcher| self.queue.contains(watcher));
                if !is_watched {
                    self.watcher = Some(place);
                    called.extend(self.queue.waker(place));
                }
                break;
            }
            if self.taken >= self.lanes(workers) {
                break;
            }
            let Some(queued) = self.queue.pop(place) else { break };
            self.taken += 1;
            self.called.insert(place.ticket);
            self.load.add(self.now, nanos(self.now.saturating_sub(queued.since)));
            called.push(queued.waker);
        }
        called
    }
}

/// A duration as nanoseconds.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
