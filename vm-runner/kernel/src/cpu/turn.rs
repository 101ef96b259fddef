//! A process's turn on a CPU, from asking for it to being charged. Dropped at any point, it leaves nothing behind.
//!
//! A process that computes much and wants to go on after its poll does not go back into the runtime's queue but into
//! the governor's: so wake-ups during its poll are kept here, by a [`SliceWaker`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::task::{ArcWake, AtomicWaker};

use super::{Admission, CpuGovernor, CpuTime, MAX_UNMEASURED, Place};

/// The turns of one process, one after the other.
pub(crate) struct Turn<'a> {
    governor: &'a CpuGovernor,
    time: &'a CpuTime,
    state: State,
    waker: Option<(Arc<SliceWaker>, Waker)>,
}

enum State {
    Idle,
    Waiting(Place, Option<Timer>),
    Running(Slice),
}

/// Rings at the end of a period.
struct Timer {
    until: Duration,
    timer: BoxFuture<'static, ()>,
}

/// A turn that is under way.
#[derive(Clone, Copy)]
struct Slice {
    /// Whether it is one of few.
    is_heavy: bool,
    began: Duration,
    thread_time: Option<Duration>,
}

/// Wakes a process, but keeps it to itself during the process's own poll.
#[derive(Default)]
struct SliceWaker {
    in_poll: AtomicBool,
    woken: AtomicBool,
    task: AtomicWaker,
}

impl<'a> Turn<'a> {
    /// A process that does not want to run yet.
    pub(crate) fn new(governor: &'a CpuGovernor, time: &'a CpuTime) -> Self {
        Self { governor, time, state: State::Idle, waker: None }
    }

    /// Polls a program if it is the process's turn, and charges for it; else the process is woken when it is.
    pub(crate) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        program: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Option<Poll<T>> {
        let slice = self.begin(cx)?;
        if !slice.is_heavy {
            let polled = self.time.share.hits.note_during(|| program(cx));
            self.end();
            return Some(polled);
        }
        let (slice_waker, waker) = self.waker.get_or_insert_with(|| {
            let slice_waker = Arc::new(SliceWaker::default());
            (Arc::clone(&slice_waker), futures::task::waker(slice_waker))
        });
        let slice_waker = Arc::clone(slice_waker);
        slice_waker.begin(cx.waker());
        let hits = &self.time.share.hits;
        let polled = hits.note_during(|| program(&mut Context::from_waker(waker)));
        if slice_waker.end() && polled.is_pending() {
            self.end_and_wait(cx.waker());
        } else {
            self.end();
        }
        Some(polled)
    }

    /// Wants to run no more for now.
    pub(crate) fn cancel(&mut self) {
        if let State::Waiting(place, _) = self.state {
            self.state = State::Idle;
            self.time.end_slice();
            self.governor.leave_queue(place);
        }
    }

    /// Begins a turn if the process may run now.
    fn begin(&mut self, cx: &mut Context<'_>) -> Option<Slice> {
        let now = self.governor.clock.monotonic();
        let admission = match &self.state {
            State::Waiting(place, _) => self.governor.look_again(*place, now, cx.waker()),
            State::Idle | State::Running(_) => self.governor.admit(self.time, now, cx.waker()),
        };
        match admission {
            Admission::Go { is_heavy } => {
                let thread_time = is_heavy.then(|| self.governor.clock.thread_time());
                self.time.begin_slice(now);
                let slice = Slice { is_heavy, began: now, thread_time };
                self.state = State::Running(slice);
                Some(slice)
            }
            Admission::Wait { place, until } => {
                self.time.wait_for_slice();
                self.wait(place, until, cx);
                None
            }
        }
    }

    /// Ends the turn.
    fn end(&mut self) {
        if let Some((now, used, is_heavy)) = self.measure() {
            self.state = State::Idle;
            self.governor.finish(self.time, now, used, is_heavy);
        }
    }

    /// Ends a turn that is one of few, and asks for another.
    fn end_and_wait(&mut self, waker: &Waker) {
        if let Some((now, used, _)) = self.measure() {
            self.state = State::Waiting(self.governor.finish_and_wait(self.time, now, used, waker), None);
            self.time.wait_for_slice();
        }
    }

    /// What the turn took.
    fn measure(&self) -> Option<(Duration, Duration, bool)> {
        let State::Running(Slice { is_heavy, began, thread_time }) = self.state else { return None };
        self.time.end_slice();
        let clock = &self.governor.clock;
        let now = clock.monotonic();
        let blocked = self.time.take_blocked();
        let used = match thread_time {
            Some(before) => clock.thread_time().saturating_sub(before),
            None => {
                let ran = now.saturating_sub(began).saturating_sub(blocked);
                ran.min(Duration::from_nanos(MAX_UNMEASURED))
            }
        };
        Some((now, used, is_heavy))
    }

    fn wait(&mut self, place: Place, until: Duration, cx: &mut Context<'_>) {
        let armed = match std::mem::replace(&mut self.state, State::Idle) {
            State::Waiting(_, armed) => armed.filter(|armed| armed.until == until),
            State::Idle | State::Running(_) => None,
        };
        let new = || Timer { until, timer: self.governor.clock.sleep_until(until) };
        let mut armed = armed.unwrap_or_else(new);
        let has_rung = armed.timer.as_mut().poll(cx).is_ready();
        if has_rung {
            cx.waker().wake_by_ref();
        }
        self.state = State::Waiting(place, (!has_rung).then_some(armed));
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.cancel();
        self.end();
    }
}

impl SliceWaker {
    fn begin(&self, task: &Waker) {
        self.task.register(task);
        self.woken.store(false, Ordering::SeqCst);
        self.in_poll.store(true, Ordering::SeqCst);
    }

    /// Whether it was woken meanwhile.
    fn end(&self) -> bool {
        self.in_poll.store(false, Ordering::SeqCst);
        self.woken.swap(false, Ordering::SeqCst)
    }
}

impl ArcWake for SliceWaker {
    fn wake_by_ref(waker: &Arc<Self>) {
        waker.woken.store(true, Ordering::SeqCst);
        if !waker.in_poll.load(Ordering::SeqCst) {
            waker.task.wake();
        }
    }
}
