//! Kernel records and captures to process, descriptor and container state, and events.
