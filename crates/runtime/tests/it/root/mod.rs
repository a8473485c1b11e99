//! Tests that run real containers and therefore need root.

mod confinement;
mod interruption;
mod lifecycle;
mod terminal;
