//! A JSON value that remembers what was changed in it, and why.

use serde::Serialize;
use serde_json::{Map, Value};

/// One change of a spec.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Where, as a JSON pointer (RFC 6901): `/process/noNewPrivileges`.
    pub path: String,
    /// What stood there; absent when nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// What stands there now; absent when it was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
    /// Why, for people.
    pub reason: String,
}

/// A spec whose structure is not that of an OCI runtime configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` of the container spec does not have the form that the OCI runtime spec demands")]
pub struct Malformed(pub String);

/// A value and its changes so far.
#[derive(Debug)]
pub(crate) struct Patch {
    value: Value,
    changes: Vec<Change>,
}

impl Patch {
    pub(crate) fn new(value: Value) -> Result<Self, Malformed> {
        if !value.is_object() {
            return Err(Malformed("/".into()));
        }
        Ok(Self { value, changes: Vec::new() })
    }

    pub(crate) fn get(&self, path: &str) -> Option<&Value> {
        self.value.pointer(path)
    }

    /// The list at `path`; one that is absent or `null` is empty.
    pub(crate) fn list(&self, path: &str) -> Result<Vec<Value>, Malformed> {
        match self.get(path) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(list)) => Ok(list.clone()),
            Some(_) => Err(Malformed(path.to_string())),
        }
    }

    /// Puts `value` at `path`, making the objects above it; no change is no entry.
    pub(crate) fn set(
        &mut self,
        path: &str,
        value: Value,
        reason: impl Into<String>,
    ) -> Result<(), Malformed> {
        let (parent, key) = split(path)?;
        let object = self.object(parent)?;
        let from = object.get(key).cloned();
        if from.as_ref() != Some(&value) {
            object.insert(key.to_string(), value.clone());
            let (path, reason) = (path.to_string(), reason.into());
            self.changes.push(Change { path, from, to: Some(value), reason });
        }
        Ok(())
    }

    /// Puts `value` at the end of the list at `path`.
    pub(crate) fn push(&mut self, path: &str, value: Value, reason: &str) -> Result<(), Malformed> {
        let (parent, key) = split(path)?;
        let list = self.object(parent)?.entry(key).or_insert(Value::Null);
        if list.is_null() {
            *list = Value::Array(Vec::new());
        }
        let list = list.as_array_mut().ok_or_else(|| Malformed(path.to_string()))?;
        let path = format!("{path}/{}", list.len());
        list.push(value.clone());
        let reason = reason.to_string();
        self.changes.push(Change { path, from: None, to: Some(value), reason });
        Ok(())
    }

    /// Takes what stands at `path` away.
    pub(crate) fn remove(&mut self, path: &str, reason: &str) -> Result<(), Malformed> {
        let (parent, key) = split(path)?;
        if self.get(path).is_none() {
            return Ok(());
        }
        if let Some(from) = self.object(parent)?.shift_remove(key) {
            let (path, reason) = (path.to_string(), reason.to_string());
            self.changes.push(Change { path, from: Some(from), to: None, reason });
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> (Value, Vec<Change>) {
        (self.value, self.changes)
    }

    /// The object at `path`, made if absent.
    fn object(&mut self, path: &str) -> Result<&mut Map<String, Value>, Malformed> {
        let bad = || Malformed(path.to_string());
        let mut at = self.value.as_object_mut().ok_or_else(bad)?;
        for key in path.split('/').skip(1) {
            let next = at.entry(key).or_insert(Value::Null);
            if next.is_null() {
                *next = Value::Object(Map::new());
            }
            at = next.as_object_mut().ok_or_else(bad)?;
        }
        Ok(at)
    }
}

fn split(path: &str) -> Result<(&str, &str), Malformed> {
    path.rsplit_once('/').ok_or_else(|| Malformed(path.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unknown_fields_and_order_survive() {
        let mut patch = Patch::new(json!({"z": 1, "process": {"future": [1]}, "a": null})).unwrap();
        patch.set("/process/noNewPrivileges", json!(true), "r").unwrap();
        patch.set("/a/b/c", json!(2), "made").unwrap();
        patch.set("/z", json!(1), "no change").unwrap();
        patch.remove("/absent/x", "nothing").unwrap();
        let (value, changes) = patch.finish();
        assert_eq!(
            value.to_string(),
            r#"{"z":1,"process":{"future":[1],"noNewPrivileges":true},"a":{"b":{"c":2}}}"#
        );
        assert_eq!(changes.len(), 2);
        assert_eq!((&changes[0].from, &changes[0].to), (&None, &Some(json!(true))));
    }

    #[test]
    fn what_is_added_to_a_list_is_named_by_its_place() {
        let mut patch = Patch::new(json!({"process": {"rlimits": null}, "text": ""})).unwrap();
        patch.push("/process/rlimits", json!(1), "r").unwrap();
        patch.push("/process/rlimits", json!(2), "r").unwrap();
        assert_eq!(patch.push("/text", json!(1), "r"), Err(Malformed("/text".into())));
        let (value, changes) = patch.finish();
        assert_eq!(value, json!({"process": {"rlimits": [1, 2]}, "text": ""}));
        let paths: Vec<_> = changes.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(paths, ["/process/rlimits/0", "/process/rlimits/1"]);
    }

    #[test]
    fn a_wrong_shape_is_an_error_not_a_panic() {
        assert!(Patch::new(json!([])).is_err());
        let mut patch = Patch::new(json!({"process": "text", "list": {}})).unwrap();
        assert_eq!(
            patch.set("/process/user/uid", json!(1), "r"),
            Err(Malformed("/process/user".into()))
        );
        assert!(patch.list("/list").is_err());
    }
}
