//! Signals: numbers as on Linux, their default actions, and sets of them.

use std::borrow::Cow;
use std::fmt;

/// What happens to a process that has set no disposition for a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DefaultAction {
    /// The process ends.
    Terminate,
    /// The process ends; Linux would also write a core file.
    Core,
    /// Nothing happens.
    Ignore,
    /// The process stops until it is continued.
    Stop,
    /// A stopped process continues.
    Continue,
}

/// A signal, 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(u8);

macro_rules! signals {
    ($($name:ident = $number:literal, $action:ident, $doc:literal;)*) => {
        impl Signal {
            $(#[doc = $doc] pub const $name: Self = Self($number);)*

            /// The signals that have a name of their own, ascending.
            pub const NAMED: &'static [Self] = &[$(Self::$name,)*];

            /// What the signal does to a process that neither catches nor ignores it.
            #[must_use]
            pub const fn default_action(self) -> DefaultAction {
                match self.0 {
                    $($number => DefaultAction::$action,)*
                    _ => DefaultAction::Terminate,
                }
            }

            /// The name, for example `SIGTERM`; real-time signals are named relative to `SIGRTMIN`.
            #[must_use]
            pub fn name(self) -> Cow<'static, str> {
                match self.0 {
                    $($number => Cow::Borrowed(stringify!($name)),)*
                    34 => Cow::Borrowed("SIGRTMIN"),
                    64 => Cow::Borrowed("SIGRTMAX"),
                    number @ 35.. => Cow::Owned(format!("SIGRTMIN+{}", number - 34)),
                    number => Cow::Owned(format!("SIG{number}")),
                }
            }
        }
    };
}

signals! {
    SIGHUP = 1, Terminate, "Hangup of the controlling terminal.";
    SIGINT = 2, Terminate, "Interrupt from the keyboard.";
    SIGQUIT = 3, Core, "Quit from the keyboard.";
    SIGILL = 4, Core, "Illegal instruction.";
    SIGTRAP = 5, Core, "Trace or breakpoint trap.";
    SIGABRT = 6, Core, "Abort.";
    SIGBUS = 7, Core, "Bad memory access.";
    SIGFPE = 8, Core, "Arithmetic error.";
    SIGKILL = 9, Terminate, "Kill; cannot be caught, blocked or ignored.";
    SIGUSR1 = 10, Terminate, "User-defined.";
    SIGSEGV = 11, Core, "Invalid memory reference.";
    SIGUSR2 = 12, Terminate, "User-defined.";
    SIGPIPE = 13, Terminate, "Write to a pipe nobody reads.";
    SIGALRM = 14, Terminate, "Timer.";
    SIGTERM = 15, Terminate, "Request to end.";
    SIGSTKFLT = 16, Terminate, "Stack fault; unused.";
    SIGCHLD = 17, Ignore, "A child changed state.";
    SIGCONT = 18, Continue, "Continue if stopped.";
    SIGSTOP = 19, Stop, "Stop; cannot be caught, blocked or ignored.";
    SIGTSTP = 20, Stop, "Stop typed at the terminal.";
    SIGTTIN = 21, Stop, "Background process reads from the terminal.";
    SIGTTOU = 22, Stop, "Background process writes to the terminal.";
    SIGURG = 23, Ignore, "Urgent data on a socket.";
    SIGXCPU = 24, Core, "CPU time limit exceeded.";
    SIGXFSZ = 25, Core, "File size limit exceeded.";
    SIGVTALRM = 26, Terminate, "Virtual timer.";
    SIGPROF = 27, Terminate, "Profiling timer.";
    SIGWINCH = 28, Ignore, "The terminal's window size changed.";
    SIGIO = 29, Terminate, "Input or output is possible.";
    SIGPWR = 30, Terminate, "Power failure.";
    SIGSYS = 31, Core, "Bad system call.";
}

impl Signal {
    /// The largest signal number.
    pub const MAX: u8 = 64;

    /// The signal of this number; `None` unless it is within 1 and 64.
    #[must_use]
    pub const fn from_raw(number: i32) -> Option<Self> {
        match number {
            1..=64 => Some(Self(number as u8)),
            _ => None,
        }
    }

    /// The signal of this name, with or without the leading `SIG`, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
        (1..=i32::from(Self::MAX))
            .filter_map(Self::from_raw)
            .find(|signal| signal.name().strip_prefix("SIG").is_some_and(|own| own == bare))
    }

    /// The number.
    #[must_use]
    pub const fn raw(self) -> u8 {
        self.0
    }

    /// Whether a process may catch, block or ignore it: false for `SIGKILL` and `SIGSTOP`.
    #[must_use]
    pub const fn is_catchable(self) -> bool {
        self.0 != Self::SIGKILL.0 && self.0 != Self::SIGSTOP.0
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// A set of signals. Bit `n - 1` stands for signal `n`, as in the guest's masks.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SignalSet(u64);

impl SignalSet {
    /// The set without members.
    pub const EMPTY: Self = Self(0);
    /// All 64 signals.
    pub const ALL: Self = Self(u64::MAX);
    /// The signals nobody may block: `SIGKILL` and `SIGSTOP`.
    pub const UNBLOCKABLE: Self = Self::EMPTY.with(Signal::SIGKILL).with(Signal::SIGSTOP);

    /// The set with these bits.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    const fn bit(signal: Signal) -> u64 {
        1 << (signal.0 - 1)
    }

    /// This set and one more signal.
    #[must_use]
    pub const fn with(self, signal: Signal) -> Self {
        Self(self.0 | Self::bit(signal))
    }

    /// This set without one signal.
    #[must_use]
    pub const fn without(self, signal: Signal) -> Self {
        Self(self.0 & !Self::bit(signal))
    }

    /// Adds a signal.
    pub const fn insert(&mut self, signal: Signal) {
        self.0 |= Self::bit(signal);
    }

    /// Takes a signal out; tells whether it was a member.
    pub const fn remove(&mut self, signal: Signal) -> bool {
        let was_member = self.contains(signal);
        self.0 &= !Self::bit(signal);
        was_member
    }

    /// Whether the signal is a member.
    #[must_use]
    pub const fn contains(self, signal: Signal) -> bool {
        self.0 & Self::bit(signal) != 0
    }

    /// Whether there is no member.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The members of both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The members of this set that the other one lacks.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The member with the smallest number: the one to deliver first.
    #[must_use]
    pub const fn first(self) -> Option<Signal> {
        match self.0 {
            0 => None,
            bits => Some(Signal(bits.trailing_zeros() as u8 + 1)),
        }
    }

    /// The members, ascending.
    pub fn iter(self) -> impl Iterator<Item = Signal> {
        let mut rest = self;
        std::iter::from_fn(move || {
            let signal = rest.first()?;
            rest.remove(signal);
            Some(signal)
        })
    }
}

impl FromIterator<Signal> for SignalSet {
    fn from_iter<I: IntoIterator<Item = Signal>>(signals: I) -> Self {
        signals.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Debug for SignalSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{DefaultAction, Signal, SignalSet};

    #[test]
    fn only_the_numbers_1_to_64_are_signals() {
        for number in [i32::MIN, -1, 0, 65, i32::MAX] {
            assert_eq!(Signal::from_raw(number), None);
        }
        assert_eq!(Signal::from_raw(15), Some(Signal::SIGTERM));
        assert_eq!(Signal::from_raw(64).map(Signal::raw), Some(64));
    }

    #[test]
    fn names_lead_back_to_the_signal() {
        for number in 1..=64 {
            let signal = Signal::from_raw(number).unwrap();
            assert_eq!(Signal::from_name(&signal.name()), Some(signal));
        }
        assert_eq!(Signal::from_name("term"), Some(Signal::SIGTERM));
        assert_eq!(Signal::from_name("SIGNONE"), None);
        assert_eq!(Signal::from_raw(36).unwrap().name(), "SIGRTMIN+2");
    }

    #[test]
    fn default_actions_are_those_of_linux() {
        assert_eq!(Signal::SIGTERM.default_action(), DefaultAction::Terminate);
        assert_eq!(Signal::SIGABRT.default_action(), DefaultAction::Core);
        assert_eq!(Signal::SIGCHLD.default_action(), DefaultAction::Ignore);
        assert_eq!(Signal::SIGTSTP.default_action(), DefaultAction::Stop);
        assert_eq!(Signal::SIGCONT.default_action(), DefaultAction::Continue);
        assert_eq!(Signal::from_raw(40).unwrap().default_action(), DefaultAction::Terminate);
    }

    #[test]
    fn kill_and_stop_cannot_be_caught() {
        let uncatchable: SignalSet =
            Signal::NAMED.iter().copied().filter(|signal| !signal.is_catchable()).collect();
        assert_eq!(uncatchable, SignalSet::UNBLOCKABLE);
    }

    #[test]
    fn a_set_keeps_bit_n_minus_1_for_signal_n() {
        let set = SignalSet::EMPTY.with(Signal::SIGHUP).with(Signal::from_raw(64).unwrap());
        assert_eq!(set.bits(), 1 | 1 << 63);
        assert_eq!(set.first(), Some(Signal::SIGHUP));
        assert_eq!(set.iter().map(Signal::raw).collect::<Vec<_>>(), [1, 64]);
        assert_eq!(set.without(Signal::SIGHUP).first().map(Signal::raw), Some(64));
        assert_eq!(SignalSet::ALL.iter().count(), 64);
    }

    #[test]
    fn set_arithmetic_follows_the_bits() {
        let a = SignalSet::from_bits(0b0110);
        let b = SignalSet::from_bits(0b0011);
        assert_eq!(a.union(b).bits(), 0b0111);
        assert_eq!(a.intersection(b).bits(), 0b0010);
        assert_eq!(a.difference(b).bits(), 0b0100);
        let mut c = a;
        assert!(c.remove(Signal::SIGINT));
        assert!(!c.remove(Signal::SIGINT));
    }
}
