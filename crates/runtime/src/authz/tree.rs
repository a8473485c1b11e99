//! JSON as Go reads it into structures: names of fields match in any case, and the last of
//! two wins, or both do.
//!
//! A tree therefore remembers keys as they were written, holds none twice ([`Unique`]), and refuses
//! a look-up that two keys answer.

use palisade_base::json::Unique;
use serde::de::{Deserialize, Deserializer};
use serde_json::Value;

use super::create::BadBody;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    Null,
    Truth(bool),
    Number(f64),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

static NULL: Tree = Tree::Null;

/// A name as `encoding/json` compares it (`foldRune`): without case, and with the two letters
/// outside ASCII that fold into it.
fn folded(name: &str) -> String {
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    name.chars().map(fold).collect()
}

impl Tree {
    /// The field `name` of an object; absent is null, as is a field of null.
    pub(super) fn get(&self, name: &str) -> Result<&Self, BadBody> {
        let list = match self {
            Self::Null => return Ok(&NULL),
            Self::Map(list) => list,
            _ => return Err(BadBody(format!("`{name}` is looked for in what is no object"))),
        };
        let wanted = folded(name);
        let mut found = list.iter().filter(|(key, _)| folded(key) == wanted);
        let first = found.next();
        if found.next().is_some() {
            return Err(BadBody(format!("`{name}` stands twice")));
        }
        Ok(first.map_or(&NULL, |(_, value)| value))
    }

    /// The field at the end of `path`.
    pub(super) fn at(&self, path: &[&str]) -> Result<&Self, BadBody> {
        path.iter().try_fold(self, |tree, name| tree.get(name))
    }

    pub(super) fn truth(&self) -> Result<Option<bool>, BadBody> {
        match self {
            Self::Null => Ok(None),
            Self::Truth(value) => Ok(Some(*value)),
            _ => Err(BadBody("a truth value is something else".into())),
        }
    }

    pub(super) fn number(&self) -> Result<Option<f64>, BadBody> {
        match self {
            Self::Null => Ok(None),
            Self::Number(value) => Ok(Some(*value)),
            _ => Err(BadBody("a number is something else".into())),
        }
    }

    pub(super) fn text(&self) -> Result<Option<&str>, BadBody> {
        match self {
            Self::Null => Ok(None),
            Self::Text(text) => Ok(Some(text)),
            _ => Err(BadBody("a text is something else".into())),
        }
    }

    pub(super) fn list(&self) -> Result<&[Self], BadBody> {
        match self {
            Self::Null => Ok(&[]),
            Self::List(list) => Ok(list),
            _ => Err(BadBody("a list is something else".into())),
        }
    }

    /// A list of texts; Docker takes one text for a list of one in places.
    pub(super) fn texts(&self) -> Result<Vec<&str>, BadBody> {
        if let Self::Text(text) = self {
            return Ok(vec![text]);
        }
        self.list()?.iter().map(|item| Ok(item.text()?.unwrap_or_default())).collect()
    }

    /// The entries of a map whose keys are data and not names.
    pub(super) fn entries(&self) -> Result<&[(String, Self)], BadBody> {
        match self {
            Self::Null => Ok(&[]),
            Self::Map(list) => Ok(list),
            _ => Err(BadBody("a map is something else".into())),
        }
    }

    /// The same where all values are texts.
    pub(super) fn pairs(&self) -> Result<Vec<(&str, &str)>, BadBody> {
        self.entries()?
            .iter()
            .map(|(key, value)| Ok((key.as_str(), value.text()?.unwrap_or_default())))
            .collect()
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Unique::deserialize(from).map(|Unique(value)| value.into())
    }
}

impl From<Value> for Tree {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Truth(value),
            // What cannot be had as this is more than any limit.
            Value::Number(value) => Self::Number(value.as_f64().unwrap_or(f64::INFINITY)),
            Value::String(text) => Self::Text(text),
            Value::Array(list) => Self::List(list.into_iter().map(Self::from).collect()),
            Value::Object(map) => {
                Self::Map(map.into_iter().map(|(key, value)| (key, value.into())).collect())
            }
        }
    }
}
