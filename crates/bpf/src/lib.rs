//! eBPF probes in C, their loader, ring reader and loss counters (unsafe island 2).
