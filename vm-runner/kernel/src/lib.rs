//! Processes, terminals, sockets and limits of a VM.
