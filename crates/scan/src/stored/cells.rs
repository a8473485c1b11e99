//! Reading of a group those cells alone that the database changed: of the others neither a package
//! nor a finding is made.

use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::file::Cell;

/// The cells, in a document that is a list of them, of which a key is one of `changed`.
pub(super) fn among<V>(
    document: &[u8],
    changed: &HashMap<u64, V>,
) -> serde_json::Result<Vec<(u64, Cell)>> {
    let mut reader = serde_json::Deserializer::from_slice(document);
    let cells = Cells(changed).deserialize(&mut reader)?;
    reader.end()?;
    Ok(cells)
}

struct Cells<'a, V>(&'a HashMap<u64, V>);

impl<'de, V> DeserializeSeed<'de> for Cells<'_, V> {
    type Value = Vec<(u64, Cell)>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'de, V> Visitor<'de> for Cells<'_, V> {
    type Value = Vec<(u64, Cell)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of cells")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut cells = Vec::new();
        while let Some(cell) = list.next_element_seed(One(self.0))? {
            cells.extend(cell);
        }
        Ok(cells)
    }
}

struct One<'a, V>(&'a HashMap<u64, V>);

#[derive(serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Field {
    Key,
    Ecosystem,
    Sources,
    Packages,
    Found,
    #[serde(other)]
    Other,
}

impl<'de, V> DeserializeSeed<'de> for One<'_, V> {
    type Value = Option<(u64, Cell)>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de, V> Visitor<'de> for One<'_, V> {
    type Value = Option<(u64, Cell)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a cell")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut cell, mut is_passed_over) = (Cell::default(), false);
        while let Some(field) = map.next_key()? {
            // Keys are written first.
            let is_wanted = cell.key_if_among(self.0).is_some();
            match field {
                Field::Key => cell.key = map.next_value()?,
                Field::Ecosystem => cell.ecosystem = map.next_value()?,
                Field::Sources => cell.sources = map.next_value()?,
                Field::Packages if is_wanted => cell.packages = map.next_value()?,
                Field::Found if is_wanted => cell.found = map.next_value()?,
                Field::Packages | Field::Found => {
                    is_passed_over = true;
                    map.next_value::<IgnoredAny>()?;
                }
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        match cell.key_if_among(self.0) {
            Some(_) if is_passed_over => Err(A::Error::custom("a key stands behind its packages")),
            key => Ok(key.map(|key| (key, cell))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_read_and_nothing_else() {
        let changed = HashMap::from([(1, 0), (7, 0)]);
        let read = |text: &str| among(text.as_bytes(), &changed);
        let package = r#"{"at":0,"package":{"kind":"node","name":"a","version":"1","purl":"p",
            "evidence":"e"}}"#;
        let text = format!(
            r#"[{{"key":1,"ecosystem":"npm","packages":[{package}],"found":[[0,"CVE-1"]]}},
                {{"key":2,"ecosystem":"npm","sources":[7],"packages":[{package}]}},
                {{"key":3,"ecosystem":"npm","packages":[0],"found":"nobody reads it"}},
                {{"ecosystem":"","sources":[7],"packages":[{package}],"more":{{}}}}]"#
        );
        let cells = read(&text).unwrap();
        let all: Vec<Cell> =
            serde_json::from_str(&text.replace("[0],\"found\":\"nobody reads it\"", "[]")).unwrap();
        let wanted = [(1, all[0].clone()), (2, all[1].clone())];
        assert_eq!(cells, wanted);
        assert!(read(r#"[{"packages":[],"key":1}]"#).is_err());
        assert!(read("[] []").is_err());
        assert!(read(r#"[{"key":1,"packages":[0]}]"#).is_err());
        assert!(read("{}").is_err());
    }
}
