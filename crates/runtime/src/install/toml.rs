//! TOML documents that keep their comments.

use std::path::Path;

use toml_edit::{DocumentMut, Item, Table};

use super::InstallError;

/// The document of `text`.
pub(super) fn parse(path: &Path, text: &str) -> Result<DocumentMut, InstallError> {
    text.parse().map_err(|error: toml_edit::TomlError| InstallError::Invalid {
        path: path.to_path_buf(),
        // Its first line names line and column.
        problem: error.to_string().lines().next().unwrap_or_default().to_string(),
    })
}

/// The table at `keys`, made if absent; tables above it get no line of their own.
pub(super) fn table<'a>(
    path: &Path,
    document: &'a mut DocumentMut,
    keys: &[&str],
) -> Result<&'a mut dyn toml_edit::TableLike, InstallError> {
    let mut at: &mut dyn toml_edit::TableLike = document.as_table_mut();
    for (depth, key) in keys.iter().enumerate() {
        let item = at.entry(key).or_insert_with(|| {
            let mut table = Table::new();
            table.set_implicit(depth + 1 < keys.len());
            Item::Table(table)
        });
        at = item.as_table_like_mut().ok_or_else(|| InstallError::Invalid {
            path: path.to_path_buf(),
            problem: format!("`{}` is no table", keys[..=depth].join(".")),
        })?;
    }
    Ok(at)
}

/// What stands at `keys`.
pub(super) fn get<'a>(document: &'a DocumentMut, keys: &[&str]) -> Option<&'a Item> {
    let mut at = document.as_item();
    for key in keys {
        at = at.get(key)?;
    }
    Some(at)
}

/// Takes `keys` away, and tables above it that are left empty.
pub(super) fn remove(document: &mut DocumentMut, keys: &[&str]) {
    fn within(table: &mut dyn toml_edit::TableLike, keys: &[&str]) {
        let [key, rest @ ..] = keys else { return };
        if rest.is_empty() {
            table.remove(key);
            return;
        }
        let Some(inner) = table.get_mut(key).and_then(Item::as_table_like_mut) else { return };
        within(inner, rest);
        if inner.is_empty() {
            table.remove(key);
        }
    }
    within(document.as_table_mut(), keys);
}

/// Takes the line of the table at `keys` away, if nothing stands under it and `before` had none.
pub(super) fn hide(document: &mut DocumentMut, before: &DocumentMut, keys: &[&str]) {
    if get(before, keys).and_then(Item::as_table).is_some_and(|table| !table.is_implicit()) {
        return;
    }
    let mut at = document.as_item_mut();
    for key in keys {
        match at.get_mut(key) {
            Some(item) => at = item,
            None => return,
        }
    }
    if let Some(table) = at.as_table_mut().filter(|table| table.iter().all(|(_, i)| i.is_table())) {
        table.set_implicit(true);
    }
}
