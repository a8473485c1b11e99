//! Falco's rule language: parse, check, compile, evaluate.
//!
//! Pure: text goes in, verdicts come out. The crate knows no event; it sees the
//! [`fields::Schema`] of a source and asks events through [`fields::Fields`].
//!
//! [`RuleSet::load`] reads rule files and reports what is wrong with them; an
//! [`Evaluator`] then tells which rules an event matches, and [`OutputFormat`] what to say
//! about it. The language is that of Falco's rule engine [`ENGINE_VERSION`].
#![forbid(unsafe_code)]

mod action;
mod anatomy;
pub mod ast;
mod carry;
mod collect;
mod compile;
mod constant;
mod definitions;
mod event_types;
mod expand;
mod extract;
pub mod fields;
mod file_schema;
mod glob;
mod graph;
mod layout;
mod lexer;
mod load;
mod matcher;
mod operand;
mod output;
mod parser;
mod pattern;
mod prefix;
mod pretty;
mod priority;
mod program;
mod read_rule;
mod reader;
mod report;
mod rule_set;
pub mod selector;
mod stateful;
mod text_index;
mod tracker;
mod transform;
mod version;
mod yaml;

pub use action::{Action, ParseActionError};
pub use anatomy::{Predicate, predicates};
pub use carry::Carried;
pub use collect::{DEFINITIONS_MAX, PluginRequirement};
pub use definitions::{Change, Definition, DefinitionKind, definitions};
pub use event_types::EventTypes;
pub use expand::{EXPRESSION_DEPTH_MAX, EXPRESSION_NODES_MAX, MACRO_NESTING_MAX};
pub use file_schema::{RULE_SCHEMA, check_schema};
pub use operand::OPERANDS_MAX;
pub use output::{FieldValue, NOT_AVAILABLE, OUTPUT_BYTES_MAX, OutputError, OutputFormat};
pub use parser::{CONDITION_BYTES_MAX, NESTING_MAX, ParseError, parse_condition, parse_operand};
pub use pattern::REGEX_BYTES_MAX;
pub use pretty::{flattened, one_line, pretty};
pub use priority::Priority;
pub use report::{PROBLEMS_MAX, code};
pub use rule_set::{
    Evaluator, ExtraOutput, LoadOptions, Rule, RuleId, RuleMatching, RuleSelection, RuleSet,
    SYSCALL_SOURCE, Selector,
};
pub use stateful::{KEY_FIELDS_MAX, Stateful, WITHIN_NS_MAX};
pub use tracker::{Awaited, COUNT_MAX, KEYS_MAX, REMEMBERED_MAX, STEPS_MAX};
pub use version::{ENGINE_VERSION, Version};
pub use yaml::{FILE_BYTES_MAX, YAML_DEPTH_MAX, YAML_NODES_MAX};
