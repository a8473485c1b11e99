//! Container spec and policy to hardened spec. Pure.
