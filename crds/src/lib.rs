//! The custom resources of Lodge as data.
