//! Delegated roles: which are asked, in which order, and what of them is not believed.

use super::*;

/// One delegation: from whom, to whom, and what else is said of it.
type Edge = (&'static str, &'static str, Value);

/// A delegation of every path.
fn all(from: &'static str, to: &'static str) -> Edge {
    (from, to, json!({"paths": ["*", "*/*"]}))
}

fn ends(from: &'static str, to: &'static str) -> Edge {
    (from, to, json!({"paths": ["*", "*/*"], "terminating": true}))
}

/// A key for each role.
fn key_of(role: &str) -> Signer {
    Signer::ed25519(100 + role.bytes().fold(0_u8, u8::wrapping_add) % 100)
}

struct Graph<'b> {
    bench: &'b Bench,
    version: u64,
    edges: Vec<Edge>,
    /// Which role has which file, with which content.
    files: Vec<(&'static str, &'static str, &'static [u8])>,
    expires: &'static str,
    /// Changes a role's document before it is signed.
    change: &'b dyn Fn(&str, &mut Value),
}

impl Graph<'_> {
    fn document(&self, role: &str) -> Value {
        let expires = if role == "targets" { LATE } else { self.expires };
        let mut document = Bench::head("targets", self.version, expires);
        let mut targets = serde_json::Map::new();
        for (_, path, content) in self.files.iter().filter(|(of, ..)| *of == role) {
            let digest = Digest::of(content).hex();
            targets.insert(
                (*path).into(),
                json!({"length": content.len(), "hashes": {"sha256": digest}}),
            );
            let (folder, name) = path.rsplit_once('/').map_or(("", *path), |(f, n)| (f, n));
            let slash = if folder.is_empty() { "" } else { "/" };
            self.bench.put(&format!("targets/{folder}{slash}{digest}.{name}"), content.to_vec());
        }
        document["targets"] = targets.into();
        let edges = self.edges.iter().filter(|(from, ..)| *from == role);
        let (mut keys, mut roles) = (serde_json::Map::new(), Vec::new());
        for (_, to, more) in edges {
            let key = key_of(to);
            keys.insert(key.id(), key.document(false));
            let mut entry = json!({"name": to, "keyids": [key.id()], "threshold": 1,
                                   "terminating": false});
            entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            roles.push(entry);
        }
        if !roles.is_empty() {
            document["delegations"] = json!({"keys": keys, "roles": roles});
        }
        (self.change)(role, &mut document);
        document
    }

    fn publish(&self) {
        let roles: std::collections::BTreeSet<&str> =
            self.edges.iter().flat_map(|(from, to, _)| [*from, *to]).chain(["targets"]).collect();
        let mut meta = serde_json::Map::new();
        for role in roles {
            let own = key_of(role);
            let by = if role == "targets" { &self.bench.online } else { &own };
            let bytes = envelope(&self.document(role), &[by]);
            meta.insert(
                format!("{role}.json"),
                json!({"version": self.version, "length": bytes.len(),
                       "hashes": {"sha256": Digest::of(&bytes).hex()}}),
            );
            let name = crate::tuf::delegation::file_name(role);
            self.bench.put(&format!("{}.{name}.json", self.version), bytes);
        }
        let mut snapshot = Bench::head("snapshot", self.version, LATE);
        snapshot["meta"] = meta.into();
        let snapshot = envelope(&snapshot, &[&self.bench.online]);
        let mut timestamp = Bench::head("timestamp", self.version, LATE);
        timestamp["meta"] = json!({"snapshot.json": {"version": self.version}});
        self.bench.put(&format!("{}.snapshot.json", self.version), snapshot);
        self.bench.put("timestamp.json", envelope(&timestamp, &[&self.bench.online]));
    }
}

/// A repository with that graph, in which those roles have the file `a/f`, each with its own
/// name as content.
fn with(
    edges: &[Edge],
    having: &[&'static str],
    change: &dyn Fn(&str, &mut Value),
) -> (Bench, Result<Refreshed, TufError>) {
    let bench = Bench::new();
    let files = having.iter().map(|role| (*role, "a/f", role.as_bytes())).collect();
    let edges = edges.to_vec();
    Graph { bench: &bench, version: 2, edges, files, expires: LATE, change }.publish();
    let found = refresh(bench.folder.path(), &bench.site, "a/f", NOW);
    (bench, found)
}

#[test]
fn roles_are_asked_in_their_order() {
    let check = |edges: &[Edge], having: &[&'static str], expected: Option<&str>| {
        let (_, found) = with(edges, having, &|_, _| ());
        match (&found, expected) {
            (Ok(found), Some(role)) => {
                assert_eq!(String::from_utf8_lossy(&found.target), role, "{edges:?} {having:?}");
            }
            (Err(TufError::NoTarget { .. }), None) => {}
            _ => panic!("{edges:?} {having:?}: {found:?}, expected {expected:?}"),
        }
    };
    let t = "targets";
    check(&[all(t, "A")], &["A"], Some("A"));
    check(&[all(t, "A")], &["A", t], Some(t));
    check(&[all(t, "A")], &[], None);
    // The first of several, and whoever it trusts before the second.
    check(&[all(t, "A"), all(t, "B")], &["A", "B"], Some("A"));
    check(&[all(t, "A"), all(t, "B")], &["B"], Some("B"));
    check(&[all(t, "A"), all(t, "B"), all("A", "C")], &["B", "C"], Some("C"));
    check(&[all(t, "A"), all(t, "B"), all("A", "C")], &["A", "C"], Some("A"));
    // One that ends the search: nobody after it, also not beside its parents.
    check(&[ends(t, "A"), all(t, "B")], &["B"], None);
    check(&[ends(t, "A"), all(t, "B"), all("A", "C")], &["B", "C"], Some("C"));
    check(&[all(t, "A"), ends(t, "B"), all(t, "C")], &["A", "C"], Some("A"));
    check(&[all(t, "A"), ends(t, "B"), all(t, "C")], &["C"], None);
    check(&[all(t, "A"), all(t, "B"), ends("A", "C")], &["B"], None);
    // Circles, one's own self, and two ways to one role.
    check(&[all(t, "A"), all("A", "B"), all("B", "A")], &[], None);
    check(&[all(t, "A"), all("A", "B"), all("B", "A"), all("B", "C")], &["C"], Some("C"));
    check(&[all(t, "A"), all("A", "A")], &[], None);
    check(&[all(t, "A"), all(t, "B"), all("A", "C"), all("B", "C")], &["C"], Some("C"));
    check(
        &[all(t, "A"), all(t, "B"), all("A", "C"), all("B", "C"), all(t, "D")],
        &["D"],
        Some("D"),
    );
    // Only those that the path is for.
    let paths = |patterns: &[&str]| json!({"paths": patterns});
    check(&[(t, "A", paths(&["b/*"])), all(t, "B")], &["A", "B"], Some("B"));
    check(&[(t, "A", paths(&["a/?"]))], &["A"], Some("A"));
    check(&[(t, "A", paths(&["*"]))], &["A"], None);
    check(&[(t, "A", paths(&[]))], &["A"], None);
    let other_ends = json!({"paths": ["b/*"], "terminating": true});
    check(&[(t, "A", other_ends), all(t, "B")], &["B"], Some("B"));
    let hash = Digest::of(b"a/f").hex();
    let hashes = |prefix: &str| json!({"path_hash_prefixes": [prefix]});
    check(&[(t, "A", hashes(&hash[..4]))], &["A"], Some("A"));
    check(&[(t, "A", hashes(&hash[1..5]))], &["A"], None);
    check(&[(t, "A", hashes(""))], &["A"], Some("A"));
    // Names that are no names of files.
    for name in ["..", "../../root", "a b", "trusted_root", "\u{f6}"] {
        check(&[all(t, name)], &[name], Some(name));
    }
}

#[test]
fn bins_have_what_their_hash_says() {
    let bin = |change: Value| {
        let bench = Bench::new();
        let hash = Digest::of(b"a/f").hex();
        let name: &'static str = Box::leak(format!("bin-{}", &hash[..2]).into_boxed_str());
        let key = key_of(name);
        let add = |role: &str, document: &mut Value| {
            if role == "targets" {
                let mut bins = json!({"keyids": [key.id()], "threshold": 1, "bit_length": 8,
                                      "name_prefix": "bin"});
                bins.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
                let keys = json!({key.id(): key.document(false)});
                document["delegations"] = json!({"keys": keys, "succinct_roles": bins});
            }
        };
        // The edge alone makes the bin's document; who asks it is changed.
        let edges = vec![all("other", name)];
        let files = vec![(name, "a/f", &b"bin"[..])];
        Graph { bench: &bench, version: 2, edges, files, expires: LATE, change: &add }.publish();
        refresh(bench.folder.path(), &bench.site, "a/f", NOW)
    };
    assert_eq!(bin(json!({})).unwrap().target, b"bin");
    for (change, what) in [
        (json!({"bit_length": 7}), "announces no `bin-"),
        (json!({"bit_length": 0}), "1 to 32 bits"),
        (json!({"bit_length": 33}), "1 to 32 bits"),
        (json!({"threshold": 0}), "nobody, or somebody twice"),
        (json!({"threshold": 2}), "1 of 2 signatures"),
        (json!({"keyids": []}), "0 of 1 signatures"),
        (json!({"name_prefix": "a".repeat(300)}), "too long"),
    ] {
        let error = bin(change).unwrap_err().to_string();
        assert!(error.contains(what), "{error}: {what}");
    }
}

#[test]
fn what_delegated_roles_lack_is_refused() {
    let t = "targets";
    let check = |what: &str, edges: &[Edge], change: &dyn Fn(&str, &mut Value)| {
        let (_, found) = with(edges, &["A"], change);
        let error = found.expect_err(what);
        assert!(error.to_string().contains(what), "{error}: {what}");
        assert!(error.is_refusal() && palisade_base::Explain::hint(&error).is_some());
    };
    let chain = [all(t, "A")];
    let a = |change: &'static dyn Fn(&mut Value)| {
        move |role: &str, document: &mut Value| {
            if role == "A" {
                change(document);
            }
        }
    };
    check(
        "`A` metadata is malformed: it is `snapshot`",
        &chain,
        &a(&|d| d["_type"] = json!("snapshot")),
    );
    check("`A` metadata expired at 2026", &chain, &a(&|d| d["expires"] = json!(EARLY)));
    check(
        "`A` metadata has version 1 where 2 is announced",
        &chain,
        &a(&|d| d["version"] = json!(1)),
    );
    let delegation = |change: Value| -> Vec<Edge> { vec![(t, "A", change)] };
    for (what, more) in [
        ("1 of 2 signatures", json!({"paths": ["*/*"], "threshold": 2})),
        ("0 of 1 signatures", json!({"paths": ["*/*"], "keyids": ["00"]})),
        ("nobody, or somebody twice", json!({"paths": ["*/*"], "threshold": 0})),
        ("nobody, or somebody twice", json!({"paths": ["*/*"], "keyids": ["k", "k"]})),
        ("neither paths nor hashes, or both", json!({})),
        ("neither paths nor hashes, or both", json!({"paths": [], "path_hash_prefixes": []})),
        ("a path is longer", json!({"paths": ["a".repeat(1025)]})),
        ("malformed", json!({"paths": "a/f"})),
        ("malformed", json!({"paths": ["a/f"], "terminating": null})),
        ("malformed", json!({"paths": ["a/f"], "name": 7})),
    ] {
        check(what, &delegation(more), &|_, _| ());
    }
    for (what, name) in [
        ("one that the root gives", "root"),
        ("one that the root gives", "targets"),
        ("is empty", ""),
    ] {
        check(what, &delegation(json!({"paths": ["*"], "name": name})), &|_, _| ());
    }
    check("stands twice", &[all(t, "A"), all(t, "A")], &|_, _| ());
    let bare = |document: &mut Value| document["delegations"] = json!({"keys": {}});
    check("neither to roles nor to bins", &chain, &|role, document| {
        if role == t {
            bare(document);
        }
    });
    // Nobody whom the snapshot does not know, and nothing that is not there.
    let (bench, _) = with(&chain, &["A"], &|_, _| ());
    let mut list: Value = serde_json::from_slice(&bench.file("2.snapshot.json")).unwrap();
    list["signed"]["meta"].as_object_mut().unwrap().remove("A.json");
    bench.put("2.snapshot.json", envelope(&list["signed"], &[&bench.online]));
    begin(bench.folder.path(), &bench.file("1.root.json"), true).unwrap();
    let error = refresh(bench.folder.path(), &bench.site, "a/f", NOW).unwrap_err();
    assert!(error.to_string().contains("announces no `A`"), "{error}");
    let (bench, _) = with(&chain, &["A"], &|_, _| ());
    bench.site.files.borrow_mut().remove("2.A.json");
    begin(bench.folder.path(), &bench.file("1.root.json"), true).unwrap();
    let error = refresh(bench.folder.path(), &bench.site, "a/f", NOW).unwrap_err();
    assert!(matches!(error, TufError::Missing { .. }), "{error}");
}

#[test]
fn walks_are_bounded() {
    let name = |n: usize| -> &'static str { Box::leak(format!("r{n}").into_boxed_str()) };
    // In depth, and in width.
    let deep = |n: usize| -> Vec<Edge> {
        let mut edges = vec![all("targets", name(1))];
        edges.extend((1..n).map(|i| all(name(i), name(i + 1))));
        edges
    };
    let wide = |n: usize| -> Vec<Edge> { (1..=n).map(|i| all("targets", name(i))).collect() };
    for edges in [&deep as &dyn Fn(usize) -> Vec<Edge>, &wide] {
        let last = name(DELEGATED_MAX);
        let (_, found) = with(&edges(DELEGATED_MAX), &[last], &|_, _| ());
        assert_eq!(found.unwrap().target, last.as_bytes());
        let last = name(DELEGATED_MAX + 1);
        let (_, found) = with(&edges(DELEGATED_MAX + 1), &[last], &|_, _| ());
        assert!(matches!(found, Err(TufError::TooManyRoles { .. })), "{found:?}");
    }
    let (_, found) = with(&[all("targets", "A")], &["A"], &|role, document| {
        if role == "targets" {
            let entry = document["delegations"]["roles"][0].clone();
            let many = vec![entry; crate::tuf::delegation::ROLES_MAX + 1];
            document["delegations"]["roles"] = many.into();
        }
    });
    assert!(found.unwrap_err().to_string().contains("more than 4096 roles"));
}

#[test]
fn what_is_known_of_roles_is_kept_and_goes_with_them() {
    let t = "targets";
    let bench = Bench::new();
    let publish = |version: u64, edges: &[Edge], expires: &'static str| {
        let files = vec![("A", "a/f", &b"A"[..])];
        let edges = edges.to_vec();
        Graph { bench: &bench, version, edges, files, expires, change: &|_, _| () }.publish();
        refresh(bench.folder.path(), &bench.site, "a/f", NOW)
    };
    let soon = "2028-01-01T00:00:00Z";
    let found = publish(2, &[all(t, "B"), all(t, "A")], soon).unwrap();
    assert_eq!((found.expires.as_str(), found.versions), (soon, [1, 2, 2, 2]));
    let kept = || {
        let entries = std::fs::read_dir(bench.folder.path().join("delegated")).unwrap();
        let mut names: Vec<_> =
            entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(kept(), ["A.json", "B.json"]);
    let at = soon.parse::<jiff::Timestamp>().unwrap().as_second();
    assert_eq!(expires(bench.folder.path()), Some(at));
    // A document that was never written whole is none.
    std::fs::write(bench.folder.path().join("delegated/.tmpAbCdEf"), "{").unwrap();
    assert_eq!(expires(bench.folder.path()), Some(at));
    std::fs::remove_file(bench.folder.path().join("delegated/.tmpAbCdEf")).unwrap();
    // What is known is not fetched again: the next root, the timestamp, the file.
    bench.site.n_asked.set(0);
    refresh(bench.folder.path(), &bench.site, "a/f", NOW).unwrap();
    assert_eq!(bench.site.n_asked.get(), 3);
    // A role that is kept, changed here, is fetched anew; one that is no document is said.
    std::fs::write(bench.folder.path().join("delegated/A.json"), "{}").unwrap();
    assert!(matches!(
        refresh(bench.folder.path(), &bench.site, "a/f", NOW),
        Err(TufError::Local { .. })
    ));
    std::fs::remove_file(bench.folder.path().join("delegated/A.json")).unwrap();
    // Another way, on which only one of them lies.
    publish(3, &[all(t, "A"), all("A", "B")], LATE).unwrap();
    assert_eq!(kept(), ["A.json"]);
    // No role goes back.
    let old: Value = serde_json::from_slice(&bench.file("2.A.json")).unwrap();
    let mut list: Value = serde_json::from_slice(&bench.file("3.snapshot.json")).unwrap();
    list["signed"]["meta"]["A.json"] = json!({"version": 2});
    list["signed"]["version"] = json!(4);
    bench.put("4.snapshot.json", envelope(&list["signed"], &[&bench.online]));
    let mut timestamp: Value = serde_json::from_slice(&bench.file("timestamp.json")).unwrap();
    timestamp["signed"]["version"] = json!(4);
    timestamp["signed"]["meta"]["snapshot.json"] = json!({"version": 4});
    bench.put("timestamp.json", envelope(&timestamp["signed"], &[&bench.online]));
    assert_eq!(old["signed"]["version"], 2);
    let error = refresh(bench.folder.path(), &bench.site, "a/f", NOW).unwrap_err();
    assert!(error.to_string().contains("`A` metadata went back from version 3 to 2"), "{error}");
}
