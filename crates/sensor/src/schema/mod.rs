//! What exists: event types, their parameters, and the fields that rules may name.

pub mod events;
mod fields;
pub(crate) mod number;

pub(crate) use events::syscall_of_native;
pub use events::{
    Category, Dynamic, EventInfo, N_EVENTS, Names, NumberFormat, Origin, PARAMS_MAX, ParamInfo,
    ParamType, Traits, event, events, syscall_name, type_names,
};
pub use fields::{Field, SyscallSchema};
