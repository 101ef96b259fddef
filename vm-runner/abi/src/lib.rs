//! Numbers and structures that the guest ABI and the kernel share.
