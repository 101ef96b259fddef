//! The Lodge gateway: the only door to the data plane.
