//! apk's database: `installed`, a record a package (apk-tools `src/database.c`).

use std::collections::BTreeMap;

/// Records of one database.
const RECORDS_MAX: usize = 100_000;
/// Folders of one record.
const FOLDERS_MAX: usize = 100_000;

/// Fields of an index in the order in which apk writes them, and whether it writes them empty.
const ORDER: [(&str, bool); 17] = [
    ("C", true),
    ("P", true),
    ("V", true),
    ("A", false),
    ("S", true),
    ("I", true),
    ("T", true),
    ("U", true),
    ("L", true),
    ("o", false),
    ("m", false),
    ("t", false),
    ("c", false),
    ("k", false),
    ("D", false),
    ("p", false),
    ("i", false),
];

/// The part of a record that comes from the index.
pub(crate) fn header(fields: &BTreeMap<&str, &str>) -> String {
    let mut text = String::new();
    for (name, is_always) in ORDER {
        let value = fields.get(name).copied().unwrap_or_default();
        let is_zero = matches!(name, "t" | "k") && value == "0";
        if is_always || (!value.is_empty() && !is_zero) {
            text.extend([name, ":", value, "\n"]);
        }
    }
    text
}

/// A file of a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) name: String,
    /// `0:0:755`, where it is not the usual one.
    pub(crate) access: Option<String>,
    /// `Q1` and SHA-1 in base64.
    pub(crate) sum: Option<String>,
}

/// A folder of a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Folder {
    pub(crate) path: String,
    pub(crate) access: Option<String>,
    pub(crate) files: Vec<Line>,
}

impl Folder {
    /// The paths of its files.
    pub(crate) fn paths(&self) -> impl Iterator<Item = (String, &Line)> {
        self.files.iter().map(|line| (join(&self.path, &line.name), line))
    }
}

pub(crate) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_string() } else { format!("{folder}/{name}") }
}

/// One package of the database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// The whole text with its last line's end, without the empty line.
    pub(crate) text: String,
    pub(crate) name: String,
    pub(crate) version: String,
    /// `Q1` and SHA-1 in base64.
    pub(crate) checksum: String,
    pub(crate) folders: Vec<Folder>,
}

/// The records of a database in their order.
pub(crate) fn read(text: &str) -> Vec<Record> {
    let texts = text.split("\n\n").map(|one| one.trim_matches('\n'));
    texts.filter(|one| !one.is_empty()).take(RECORDS_MAX).map(record).collect()
}

fn record(text: &str) -> Record {
    let mut record = Record { text: format!("{text}\n"), ..Record::default() };
    // As apk does: a carriage return at a line's end belongs to a name.
    for line in text.split('\n') {
        let Some((key, value)) = line.split_once(':') else { continue };
        let is_full = record.folders.len() >= FOLDERS_MAX;
        match (key, record.folders.last_mut()) {
            ("P", _) => record.name = value.to_string(),
            ("V", _) => record.version = value.to_string(),
            ("C", _) => record.checksum = value.to_string(),
            ("F", _) if !is_full => {
                record.folders.push(Folder { path: value.to_string(), ..Folder::default() });
            }
            ("M", Some(folder)) => folder.access = Some(value.to_string()),
            ("R", Some(folder)) => {
                folder.files.push(Line { name: value.to_string(), ..Line::default() });
            }
            ("a", Some(Folder { files, .. })) => {
                if let Some(file) = files.last_mut() {
                    file.access = Some(value.to_string());
                }
            }
            ("Z", Some(Folder { files, .. })) => {
                if let Some(file) = files.last_mut() {
                    file.sum = Some(value.to_string());
                }
            }
            _ => {}
        }
    }
    record
}

/// The lines of a record's folders.
pub(crate) fn write(folders: &[Folder]) -> String {
    let mut text = String::new();
    for folder in folders {
        text.extend(["F:", &folder.path, "\n"]);
        if let Some(access) = &folder.access {
            text.extend(["M:", access, "\n"]);
        }
        for file in &folder.files {
            text.extend(["R:", &file.name, "\n"]);
            if let Some(access) = &file.access {
                text.extend(["a:", access, "\n"]);
            }
            if let Some(sum) = &file.sum {
                text.extend(["Z:", sum, "\n"]);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written() {
        let body = "F:\nF:etc\nM:0:0:750\nR:a\na:0:0:600\nZ:Q1x\nR:b\nF:usr\r\n";
        let text = format!("C:Q1y\nP:a\nV:1\n{body}\nP:b\nV:2\n\n");
        let all = read(&text);
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].name.as_str(), all[0].checksum.as_str()), ("a", "Q1y"));
        assert_eq!(write(&all[0].folders), body);
        let paths: Vec<String> = all[0].folders[1].paths().map(|(path, _)| path).collect();
        assert_eq!(paths, ["etc/a", "etc/b"]);
        assert_eq!(all.iter().flat_map(|one| [one.text.as_str(), "\n"]).collect::<String>(), text);
        assert_eq!(read("\n\nR:a\na:b\nZ:c\n").len(), 1);
    }

    #[test]
    fn a_header_has_apks_order() {
        let fields = [("p", "x"), ("V", "1"), ("P", "a"), ("C", "Q1"), ("k", "0"), ("r", "b")];
        let fields: BTreeMap<&str, &str> = fields.into_iter().collect();
        assert_eq!(header(&fields), "C:Q1\nP:a\nV:1\nS:\nI:\nT:\nU:\nL:\np:x\n");
    }
}
