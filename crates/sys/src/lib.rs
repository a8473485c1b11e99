//! Raw system calls: namespaces, mounts, cgroups, pidfds (unsafe island 1).
