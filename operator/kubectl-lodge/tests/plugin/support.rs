//! What tests of the plugin are made with.

pub(crate) mod answer;
pub(crate) mod pki;
pub(crate) mod pty;
pub(crate) mod runner;
pub(crate) mod socket;
pub(crate) mod world;
