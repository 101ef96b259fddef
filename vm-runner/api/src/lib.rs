//! Wire types of the Lodge control API.
