//! The kubectl plugin of Lodge.

fn main() {}
