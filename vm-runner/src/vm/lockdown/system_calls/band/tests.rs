//! A filter in bands answers what the plain one of the same rules answers, to every call there is.

use seccompiler::{SeccompAction, sock_filter};

use super::super::{allowed_rules, deadly_rules};
use super::{Rules, plain, program};

const PID: u32 = 4711;
/// More calls than any kernel has.
const CALLS: u32 = 1024;

/// What a filter looks at: `struct seccomp_data`, in words.
#[derive(Clone, Copy)]
struct Call {
    number: u32,
    architecture: u32,
    arguments: [u64; 6],
}

impl Call {
    fn word(self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.architecture,
            _ => {
                let argument = self.arguments[(offset as usize - 16) / 8];
                let is_upper = offset % 8 == 4;
                (if is_upper { argument >> 32 } else { argument & u64::from(u32::MAX) }) as u32
            }
        }
    }
}

/// Runs a program as the kernel would: its answer, and how many instructions that took.
fn run(program: &[sock_filter], call: Call) -> (u32, usize) {
    let (mut at, mut accumulator, mut count) = (0, 0, 0);
    loop {
        let sock_filter { code, jt, jf, k } = program[at].clone();
        count += 1;
        at += 1;
        let jump = |is_so: bool| usize::from(if is_so { jt } else { jf });
        match u32::from(code) {
            0x20 => accumulator = call.word(k),
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => at += jump(accumulator == k),
            0x25 => at += jump(accumulator > k),
            0x35 => at += jump(accumulator >= k),
            0x06 => return (k, count),
            other => panic!("an instruction that no filter here needs: {other:#x}"),
        }
    }
}

/// Numbers that rules may ask for, and some beside them.
fn arguments() -> Vec<[u64; 6]> {
    let values = [0, 1, 2, 3, 5, 19, 0x1_0000, 0x3d_0f00, u64::from(PID), 0xc060_6610, 0x5421, u64::MAX];
    let mut all = Vec::new();
    for first in values {
        for second in values {
            all.push([first, second, 0, 0, 0, 0]);
            all.push([first, second, 19, 0, 1, 0]);
        }
    }
    all
}

fn filters() -> Vec<(Rules, SeccompAction, SeccompAction)> {
    let refused = SeccompAction::Errno(38);
    vec![
        (deadly_rules().unwrap(), SeccompAction::Allow, SeccompAction::KillProcess),
        (allowed_rules(PID, false).unwrap(), refused.clone(), SeccompAction::Allow),
        (allowed_rules(PID, true).unwrap(), refused, SeccompAction::Allow),
    ]
}

fn architecture() -> u32 {
    // The second instruction compares with it.
    let (rules, otherwise, listed) = filters().remove(0);
    plain(rules, &otherwise, &listed).unwrap()[1].k
}

#[test]
fn a_filter_in_bands_answers_every_call_as_the_plain_one() {
    let architecture = architecture();
    for (rules, otherwise, listed) in filters() {
        let plain = plain(rules.clone(), &otherwise, &listed).unwrap();
        let banded = program(rules, &otherwise, &listed).unwrap();
        let numbers = (0..CALLS).chain([0x4000_0000, 0x4000_003b, u32::MAX]);
        for number in numbers {
            for arguments in arguments() {
                let call = Call { number, architecture, arguments };
                assert_eq!(run(&banded, call).0, run(&plain, call).0, "{number} {arguments:?}");
            }
        }
        let foreign = Call { number: 0, architecture: architecture ^ 1, arguments: [0; 6] };
        assert_eq!(run(&banded, foreign).0, 0x8000_0000, "calls of another architecture end the process");
    }
}

#[test]
fn a_filter_in_bands_needs_few_instructions_for_a_call() {
    let architecture = architecture();
    for (rules, otherwise, listed) in filters() {
        let banded = program(rules, &otherwise, &listed).unwrap();
        let most = (0..CALLS).map(|number| run(&banded, Call { number, architecture, arguments: [0; 6] }).1);
        assert!(most.max().unwrap() < 100);
    }
}

#[test]
fn few_calls_are_one_band_and_none_is_a_whole_filter_too() {
    let (otherwise, listed) = (SeccompAction::Allow, SeccompAction::KillProcess);
    let few: Rules = deadly_rules().unwrap().into_iter().take(3).collect();
    for rules in [few, Rules::new()] {
        let expected = plain(rules.clone(), &otherwise, &listed).unwrap();
        assert_eq!(program(rules, &otherwise, &listed).unwrap(), expected);
    }
}
