//! Tests that run real containers and therefore need root.

mod apparmor;
mod confinement;
mod interruption;
mod lifecycle;
mod terminal;
