//! A real cluster, and tests against it.
