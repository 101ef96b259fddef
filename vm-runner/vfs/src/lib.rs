//! Files and mounts of a VM.
