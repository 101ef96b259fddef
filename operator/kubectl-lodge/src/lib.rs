//! The kubectl plugin of Lodge.
