//! Where rules, macros and lists are defined and changed, for people who look for it.
//!
//! Reads the same text as loading does, and judges nothing: what is wrong with an item,
//! loading says. Items that loading refuses are listed as what they try to be.

use std::collections::BTreeSet;

use palisade_base::Location;

use crate::yaml::{Node, read_documents};

/// What an item of a rule file defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DefinitionKind {
    /// A rule.
    Rule,
    /// A macro.
    Macro,
    /// A list.
    List,
}

impl DefinitionKind {
    /// The key by which an item of this kind begins.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Macro => "macro",
            Self::List => "list",
        }
    }
}

/// What an item does to what came before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The first of its name.
    Defines,
    /// Replaces all that came before.
    Redefines,
    /// Changes parts: keys appended to and keys replaced, in the order of the item.
    Changes {
        /// Keys that are appended to.
        appended: Vec<String>,
        /// Keys that are replaced.
        replaced: Vec<String>,
    },
}

/// An item of a rule file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// What it is about.
    pub kind: DefinitionKind,
    /// The name.
    pub name: String,
    /// Where it stands.
    pub location: Location,
    /// What it does.
    pub change: Change,
    /// The condition of a macro or rule, the items of a list, as written here.
    pub text: Vec<String>,
}

/// All definitions of rule files, in order; `sources` are pairs of a file's name and its
/// text. Text that is not YAML gives none.
pub fn definitions(sources: &[(&str, &str)]) -> Vec<Definition> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (number, (file, text)) in sources.iter().enumerate() {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        for document in read_documents(number, text).unwrap_or_default() {
            for item in document.sequence().unwrap_or_default() {
                if let Some(mut definition) = read(item, file) {
                    let is_new = seen.insert((definition.kind, definition.name.clone()));
                    if is_new && definition.change == Change::Redefines {
                        definition.change = Change::Defines;
                    }
                    found.push(definition);
                }
            }
        }
    }
    found
}

fn read(item: &Node, file: &str) -> Option<Definition> {
    let (kind, name) = [DefinitionKind::List, DefinitionKind::Macro, DefinitionKind::Rule]
        .into_iter()
        .find_map(|kind| Some((kind, item.get(kind.name())?.scalar()?)))?;
    let text = match kind {
        DefinitionKind::List => {
            let items = item.get("items").and_then(Node::sequence).unwrap_or_default();
            items.iter().filter_map(|item| item.scalar().map(str::to_owned)).collect()
        }
        _ => item.get("condition").and_then(Node::scalar).map(str::to_owned).into_iter().collect(),
    };
    Some(Definition {
        kind,
        name: name.to_owned(),
        location: Location {
            file: file.to_owned(),
            line: item.place.line.max(1) as usize,
            column: item.place.column.max(1) as usize,
        },
        change: change(kind, item),
        text,
    })
}

fn change(kind: DefinitionKind, item: &Node) -> Change {
    let is_there = |key: &&str| item.get(key).is_some();
    let owned = |keys: Vec<&str>| keys.into_iter().map(str::to_owned).collect();
    if let Some(overrides) = item.get("override").and_then(Node::mapping) {
        let with = |wanted: &str| {
            let entries = overrides.iter().filter(|(_, value)| value.scalar() == Some(wanted));
            owned(entries.filter_map(|(key, _)| key.scalar()).collect())
        };
        return Change::Changes { appended: with("append"), replaced: with("replace") };
    }
    if item.get("append").and_then(Node::scalar).is_some_and(|text| text == "true") {
        let keys = match kind {
            DefinitionKind::List => vec!["items"],
            DefinitionKind::Macro => vec!["condition"],
            DefinitionKind::Rule => {
                ["condition", "exceptions"].into_iter().filter(is_there).collect()
            }
        };
        return Change::Changes { appended: owned(keys), replaced: vec![] };
    }
    let only_enables = kind == DefinitionKind::Rule
        && ["condition", "output", "desc", "priority"].iter().all(|key| !is_there(key));
    if only_enables {
        let replaced = if is_there(&"enabled") { vec!["enabled".to_owned()] } else { vec![] };
        return Change::Changes { appended: vec![], replaced };
    }
    Change::Redefines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_says_what_it_does() {
        let base = "- list: l\n  items: [a, 1]\n- macro: m\n  condition: a.b = 1\n\
                    - rule: r\n  desc: d\n  condition: m\n  output: o\n  priority: INFO\n";
        let site = "- rule: r\n  condition: and c.d = 2\n  tags: [x]\n  override:\n    \
                    condition: append\n    tags: replace\n- rule: r\n  enabled: false\n\
                    - list: l\n  items: [b]\n  append: true\n- macro: m\n  condition: a.b = 2\n";
        let found = definitions(&[("base", base), ("site", site), ("bad", "- [")]);
        let shown: Vec<String> = found
            .iter()
            .map(|d| {
                let change = match &d.change {
                    Change::Defines => "defines".to_owned(),
                    Change::Redefines => "redefines".to_owned(),
                    Change::Changes { appended, replaced } => {
                        format!("+{appended:?} ={replaced:?}")
                    }
                };
                format!("{} {} {} {change} {:?}", d.location, d.kind.name(), d.name, d.text)
            })
            .collect();
        assert_eq!(
            shown,
            [
                "base:1:3 list l defines [\"a\", \"1\"]",
                "base:3:3 macro m defines [\"a.b = 1\"]",
                "base:5:3 rule r defines [\"m\"]",
                "site:1:3 rule r +[\"condition\"] =[\"tags\"] [\"and c.d = 2\"]",
                "site:7:3 rule r +[] =[\"enabled\"] []",
                "site:9:3 list l +[\"items\"] =[] [\"b\"]",
                "site:12:3 macro m redefines [\"a.b = 2\"]",
            ]
        );
    }
}
