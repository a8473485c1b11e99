//! Response plans, their execution, and evidence.
