//! Fixes of Kubernetes manifests and Compose files.

use palisade_base::yaml::{Key, Node, Place, Value};

use super::super::detect::Kind;
use super::super::tree::Look;
use super::Fixer;
use super::edit::{Edit, View};

const fn fixer(
    kind: Kind,
    check: &'static str,
    propose: fn(&View<'_>, Place) -> Option<Vec<Edit>>,
) -> Fixer {
    Fixer { check, kind, propose }
}

const fn pod(check: &'static str, propose: fn(&View<'_>, Place) -> Option<Vec<Edit>>) -> Fixer {
    fixer(Kind::Kubernetes, check, propose)
}

const fn service(check: &'static str, propose: fn(&View<'_>, Place) -> Option<Vec<Edit>>) -> Fixer {
    fixer(Kind::Compose, check, propose)
}

/// In this order: later ones find what earlier ones have added.
pub(super) const FIXERS: &[Fixer] = &[
    pod("privileged", |view, at| flip(view, at, "false")),
    pod("host-pid", |view, at| flip(view, at, "false")),
    pod("host-ipc", |view, at| flip(view, at, "false")),
    pod("host-network", |view, at| flip(view, at, "false")),
    pod("host-process", |view, at| flip(view, at, "false")),
    pod("host-users", |view, at| set_or_flip(view, at, &["hostUsers"], "false")),
    pod("service-account-token", |view, at| {
        set_or_flip(view, at, &["automountServiceAccountToken"], "false")
    }),
    pod("runs-as-root", |view, at| {
        set_or_flip(view, at, &["securityContext", "runAsNonRoot"], "true")
    }),
    pod("privilege-escalation", |view, at| {
        set_or_flip(view, at, &["securityContext", "allowPrivilegeEscalation"], "false")
    }),
    pod("writable-root", |view, at| {
        set_or_flip(view, at, &["securityContext", "readOnlyRootFilesystem"], "true")
    }),
    pod("capabilities-kept", |view, at| {
        drop_of(view, at, &["securityContext", "capabilities", "drop"], "ALL")
    }),
    pod("net-raw-kept", |view, at| {
        drop_of(view, at, &["securityContext", "capabilities", "drop"], "NET_RAW")
    }),
    pod("seccomp-unconfined", |view, at| word(view, at, "Unconfined", "RuntimeDefault")),
    pod("seccomp-not-set", |view, at| {
        let map = map_at(view, at)?;
        set(view, map, &["securityContext", "seccompProfile", "type"], "RuntimeDefault")
    }),
    pod("mandatory-access-off", |view, at| word(view, at, "Unconfined", "RuntimeDefault")),
    pod("proc-unmasked", |view, at| word(view, at, "Unmasked", "Default")),
    service("privileged", |view, at| flip(view, at, "false")),
    service("host-pid", remove_setting),
    service("host-ipc", remove_setting),
    service("host-network", remove_setting),
    service("host-namespaces", remove_setting),
    service("seccomp-unconfined", remove_option),
    service("mandatory-access-off", remove_option),
    service("proc-unmasked", remove_option),
    service("writable-root", |view, at| set_or_flip(view, at, &["read_only"], "true")),
    service("privilege-escalation", |view, at| {
        // An option that says no is turned round where it stands.
        word(view, at, "no-new-privileges:false", "no-new-privileges:true")
            .or_else(|| word(view, at, "no-new-privileges=false", "no-new-privileges=true"))
            .or_else(|| {
                add_item(view, map_at(view, at)?, &["security_opt"], "no-new-privileges:true")
            })
    }),
    service("capabilities-kept", |view, at| drop_of(view, at, &["cap_drop"], "ALL")),
    service("net-raw-kept", |view, at| drop_of(view, at, &["cap_drop"], "NET_RAW")),
];

/// A mapping of the tree and the key whose value it is, unless it is an item of a list.
#[derive(Clone, Copy)]
struct Map<'n> {
    node: &'n Node,
    key: Option<&'n Key>,
}

/// A list and the key whose value it is, in a mapping.
#[derive(Clone, Copy)]
struct List<'n> {
    node: &'n Node,
    key: &'n Key,
    map: Map<'n>,
}

/// Calls `see` with every node, its key and the mapping of that, until it answers. The
/// recursion is as deep as the reader of the tree allows.
fn find<'n, T>(
    node: &'n Node,
    key: Option<&'n Key>,
    map: Option<Map<'n>>,
    see: &dyn Fn(&'n Node, Option<&'n Key>, Option<Map<'n>>) -> Option<T>,
) -> Option<T> {
    if let Some(found) = see(node, key, map) {
        return Some(found);
    }
    let own = Map { node, key };
    let of_entries =
        || node.entries().iter().find_map(|(key, value)| find(value, Some(key), Some(own), see));
    let of_items = || node.items().iter().find_map(|item| find(item, None, None, see));
    of_entries().or_else(of_items)
}

fn find_in<'n, T>(
    view: &'n View<'_>,
    see: &dyn Fn(&'n Node, Option<&'n Key>, Option<Map<'n>>) -> Option<T>,
) -> Option<T> {
    view.documents.iter().find_map(|document| find(document, None, None, see))
}

/// The mapping that begins at a place, or the service of Compose whose name stands there.
fn map_at<'n>(view: &'n View<'_>, at: Place) -> Option<Map<'n>> {
    let services = view.documents.iter().flat_map(|document| document.get("services").entries());
    let service = services.filter(|(key, value)| key.place == at || value.place == at);
    let is_map = |node: &Node| matches!(node.value, Value::Map(_));
    if let Some((key, node)) = service.into_iter().find(|(_, value)| is_map(value)) {
        return Some(Map { node, key: Some(key) });
    }
    find_in(view, &|node, key, _| (node.place == at && is_map(node)).then_some(Map { node, key }))
}

/// Replaces a truth value at a place.
fn flip(view: &View<'_>, at: Place, to: &str) -> Option<Vec<Edit>> {
    let rest = view.from(at)?;
    let length = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
    let old = rest.get(..length)?;
    let wrong: &[&str] =
        if to == "true" { &["false", "no", "off", "n"] } else { &["true", "yes", "on", "y"] };
    let is_wrong = wrong.iter().any(|word| word.eq_ignore_ascii_case(old));
    is_wrong.then(|| view.replace(at, old, to))?.map(|edit| vec![edit])
}

/// Replaces a word at a place, in quotes or not.
fn word(view: &View<'_>, at: Place, old: &str, new: &str) -> Option<Vec<Edit>> {
    let quoted = view.from(at)?.starts_with(['"', '\'']);
    let at = Place { column: at.column + usize::from(quoted), ..at };
    Some(vec![view.replace(at, old, new)?])
}

fn set_or_flip(view: &View<'_>, at: Place, path: &[&str], to: &str) -> Option<Vec<Edit>> {
    match map_at(view, at) {
        Some(map) => set(view, map, path, to),
        None => flip(view, at, to),
    }
}

/// Gives the setting at `path` within `map` a value that is on one line.
fn set(view: &View<'_>, map: Map<'_>, path: &[&str], to: &str) -> Option<Vec<Edit>> {
    let (name, rest) = path.split_first()?;
    let Some((key, value)) = map.node.entries().iter().find(|(key, _)| key.text == *name) else {
        return insert(view, map, path, to).map(|edit| vec![edit]);
    };
    match &value.value {
        Value::Map(_) if !rest.is_empty() => {
            set(view, Map { node: value, key: Some(key) }, rest, to)
        }
        Value::Scalar { text, plain: true } if text.is_empty() && !rest.is_empty() => {
            // A key without a value: what belongs to it follows.
            let lines = nested(key.place.column + 1, rest, to);
            view.insert_lines(key.place.line + 1, &lines).map(|edit| vec![edit])
        }
        Value::Scalar { text, plain: true } if rest.is_empty() && !text.is_empty() => {
            view.replace(value.place, text, to).map(|edit| vec![edit])
        }
        _ => None,
    }
}

/// `path` with `to` at its end, in lines indented by `indent` and more.
fn nested(indent: usize, path: &[&str], to: &str) -> Vec<String> {
    let n = path.len();
    path.iter()
        .enumerate()
        .map(|(depth, name)| {
            let blank = " ".repeat(indent + 2 * depth);
            if depth + 1 == n { format!("{blank}{name}: {to}") } else { format!("{blank}{name}:") }
        })
        .collect()
}

/// Adds a setting that `map` has not.
fn insert(view: &View<'_>, map: Map<'_>, path: &[&str], to: &str) -> Option<Edit> {
    let rest = view.from(map.node.place)?;
    if let Some(within) = rest.strip_prefix('{') {
        let flow = path.iter().rev().enumerate().fold(String::new(), |inner, (depth, name)| {
            if depth == 0 { format!("{name}: {to}") } else { format!("{name}: {{{inner}}}") }
        });
        let is_empty = within.trim_start().starts_with('}');
        let at = view.offset(map.node.place)? + 1;
        return Some(Edit::insert(at, if is_empty { flow } else { format!("{flow}, ") }));
    }
    let lines = nested(map.node.place.column.checked_sub(1)?, path, to);
    view.insert_lines(line_within(view, map)?, &lines)
}

/// A line before which a setting of `map` can stand without parting a comment from what it is
/// about: the one after its key, or after a setting that is on one line.
fn line_within(view: &View<'_>, map: Map<'_>) -> Option<usize> {
    let first = map.node.entries().first().map(|(key, _)| key.place)?;
    if first != map.node.place {
        return None;
    }
    if let Some(key) = map.key
        && map.node.place.line > key.place.line
    {
        return Some(key.place.line + 1);
    }
    let entries = map.node.entries().iter();
    let one = entries.filter(|(key, _)| key.place.column == first.column).find(|(key, value)| {
        let is_block = view.from(value.place).is_some_and(|rest| rest.starts_with(['|', '>']));
        matches!(value.value, Value::Scalar { .. })
            && value.place.line == key.place.line
            && !is_block
    });
    one.map(|(key, _)| key.place.line + 1)
}

/// Drops a capability: at the container, or at the list of what it drops already.
fn drop_of(view: &View<'_>, at: Place, path: &[&str], name: &str) -> Option<Vec<Edit>> {
    if let Some(map) = map_at(view, at) {
        return add_item(view, map, path, name);
    }
    let list = list_of(view, at)?;
    if path.last() != Some(&list.key.text.as_str()) {
        return None;
    }
    add_to(view, list.key, list.node, name).map(|edit| vec![edit])
}

/// Adds `item` to the list at `path` within `map`.
fn add_item(view: &View<'_>, map: Map<'_>, path: &[&str], item: &str) -> Option<Vec<Edit>> {
    let list = map.node.at(&path.join("."));
    let (last, parents) = path.split_last()?;
    let Some(list) = list else {
        let quoted = if item.contains(':') { format!("[\"{item}\"]") } else { format!("[{item}]") };
        return set(view, map, path, &quoted);
    };
    let parent = if parents.is_empty() { Some(map.node) } else { map.node.at(&parents.join(".")) };
    let (key, _) = parent.entries().iter().find(|(key, _)| key.text == *last)?;
    add_to(view, key, list, item).map(|edit| vec![edit])
}

fn add_to(view: &View<'_>, key: &Key, list: &Node, item: &str) -> Option<Edit> {
    let Value::List(items) = &list.value else { return None };
    if let Some(within) = view.from(list.place)?.strip_prefix('[') {
        let quoted = if item.contains(':') { format!("\"{item}\"") } else { item.to_string() };
        let is_empty = within.trim_start().starts_with(']');
        let at = view.offset(list.place)? + 1;
        return Some(Edit::insert(at, if is_empty { quoted } else { format!("{quoted}, ") }));
    }
    let dash = dash_before(view, items.first()?.place)?;
    if dash.line <= key.place.line {
        return None;
    }
    let line = format!("{}- {item}", " ".repeat(dash.column - 1));
    view.insert_lines(key.place.line + 1, &[line])
}

/// The `-` of an item that stands alone on its line before it.
fn dash_before(view: &View<'_>, item: Place) -> Option<Place> {
    let line = view.line(item.line)?;
    let column = line.chars().take(item.column - 1).position(|c| c != ' ')? + 1;
    let before: String = line.chars().take(item.column - 1).skip(column - 1).collect();
    (before.trim_end() == "-").then_some(Place { line: item.line, column })
}

/// The list that has an item at a place.
fn list_of<'n>(view: &'n View<'_>, at: Place) -> Option<List<'n>> {
    find_in(view, &|node, key, map| {
        let is_in = node.items().iter().any(|item| item.place == at);
        if is_in { Some(List { node, key: key?, map: map? }) } else { None }
    })
}

/// Removes the setting whose value, on one line, stands at a place; not the only one.
fn remove_setting(view: &View<'_>, at: Place) -> Option<Vec<Edit>> {
    let (key, map) = find_in(view, &|node, key, map| {
        let is_it = node.place == at && matches!(node.value, Value::Scalar { .. });
        if is_it { key.zip(map) } else { None }
    })?;
    remove_entry(view, key, at.line, map)
}

fn remove_entry(view: &View<'_>, key: &Key, last: usize, map: Map<'_>) -> Option<Vec<Edit>> {
    let before = view.line(key.place.line)?.chars().take(key.place.column - 1);
    let is_alone = before.clone().all(|c| c == ' ');
    if !is_alone || map.node.entries().len() < 2 {
        return None;
    }
    Some(vec![view.remove_lines(key.place.line, last)?])
}

/// Removes the option of a list that stands at a place, and the list with its last one.
fn remove_option(view: &View<'_>, at: Place) -> Option<Vec<Edit>> {
    let list = list_of(view, at)?;
    let is_flow = view.from(list.node.place)?.starts_with('[');
    if list.node.items().len() == 1 {
        return remove_entry(view, list.key, at.line, list.map);
    }
    if is_flow {
        return None;
    }
    let dash = dash_before(view, at)?;
    Some(vec![view.remove_lines(dash.line, dash.line)?])
}
