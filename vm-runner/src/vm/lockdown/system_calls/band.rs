//! A filter whose calls are divided into bands of numbers.
//!
//! The kernel asks a filter what becomes of every call that there is when it is put in place (for its bitmap of calls
//! that need no filter), and again at each call whose arguments count. A plain filter compares the number with one listed
//! call after the other: hundreds of comparisons, and 0.3 ms for a filter to be in place, twice in each process's start.
//! Here the number first chooses a band, and is then compared with the few calls of that one.
//!
//! Each band is a whole filter of `seccompiler`'s own, with the same answer for what is not listed. Only the choice
//! between them is made here: so a call is decided by the rules that were written for it, or by none.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

/// By the number of the call: when the action for listed calls is taken. None: always.
pub(super) type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Calls in a band.
const BAND_CALLS: usize = 8;
/// What each of `seccompiler`'s programs begins with: the check of the architecture, and loading the call's number.
const PREAMBLE: usize = 4;
/// Most instructions of a program: the kernel's own limit (`BPF_MAXINSNS`).
const MAX_INSTRUCTIONS: usize = 4096;
/// Goes on behind the next instruction unless the number is at least this one.
const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
/// Skips so many instructions.
const SKIP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;

/// A program that answers `listed` for calls that the rules match, and `otherwise` for all others.
pub(super) fn program(
    rules: Rules,
    otherwise: &SeccompAction,
    listed: &SeccompAction,
) -> Result<BpfProgram, BackendError> {
    let mut bands = Vec::new();
    let mut rest = rules.clone();
    while let Some(first) = rest.keys().next().copied() {
        let (band, behind) = split(rest);
        bands.push((first, plain(band, otherwise, listed)?));
        rest = behind;
    }
    // A newer seccompiler may build its programs in another way. Then they are whole as well, only slower.
    match join(&bands) {
        Some(joined) => Ok(joined),
        None => plain(rules, otherwise, listed),
    }
}

/// The first calls, and those behind them.
fn split(mut rules: Rules) -> (Rules, Rules) {
    let behind = rules.keys().nth(BAND_CALLS).copied();
    let behind = behind.map(|first| rules.split_off(&first)).unwrap_or_default();
    (rules, behind)
}

fn plain(
    rules: Rules,
    otherwise: &SeccompAction,
    listed: &SeccompAction,
) -> Result<BpfProgram, BackendError> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, otherwise.clone(), listed.clone(), architecture)?.try_into()
}

/// One program of those of the bands, each with its first call, in order. `None` if they do not begin alike.
fn join(bands: &[(i64, BpfProgram)]) -> Option<BpfProgram> {
    let (_, lowest) = bands.first()?;
    let preamble = lowest.get(..PREAMBLE)?;
    if bands.iter().any(|(_, program)| program.get(..PREAMBLE) != Some(preamble)) {
        return None;
    }
    // The bodies lie behind the choice, lowest first.
    let mut starts = Vec::with_capacity(bands.len());
    let mut bodies = Vec::new();
    for (_, program) in bands {
        starts.push(bodies.len());
        bodies.extend_from_slice(program.get(PREAMBLE..)?);
    }
    let mut joined = preamble.to_vec();
    let choices = 2 * (bands.len() - 1);
    for (choice, ((first, _), start)) in bands.iter().zip(&starts).skip(1).rev().enumerate() {
        joined.push(instruction(IF_AT_LEAST, 1, u32::try_from(*first).ok()?));
        // From behind the instruction that skips: the choices that are left, and the bodies before this one.
        let skipped = choices - 2 * (choice + 1) + start;
        joined.push(instruction(SKIP, 0, u32::try_from(skipped).ok()?));
    }
    joined.append(&mut bodies);
    (joined.len() < MAX_INSTRUCTIONS).then_some(joined)
}

/// An instruction that skips `otherwise` instructions if what it asks is not so.
const fn instruction(code: u16, otherwise: u8, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: otherwise, k }
}

#[cfg(test)]
mod tests;
