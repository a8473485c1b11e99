use palisade_model::symbols::function_hash;
use proptest::prelude::*;

use super::*;

#[test]
fn names_as_advisories_write_them() {
    let check = |name: &str, expected: Option<(&str, &[&str])>| {
        let found = split(name).map(|(package, rest)| (unescape(package), segments(rest)));
        let expected = expected.map(|(package, parts)| {
            (package.to_string(), parts.iter().map(ToString::to_string).collect::<Vec<_>>())
        });
        assert_eq!(found, expected, "{name}");
    };
    check("net/http.Get", Some(("net/http", &["Get"])));
    check("net/http.(*Client).Do", Some(("net/http", &["Client", "Do"])));
    check("net/http.Header.Add", Some(("net/http", &["Header", "Add"])));
    check("net/http.(*Client).Do.func1.2", Some(("net/http", &["Client", "Do"])));
    check("net/http.(*Client).Do-fm", Some(("net/http", &["Client", "Do"])));
    check("a/b.F.func1", Some(("a/b", &["F"])));
    check("a/b.F.gowrap2", Some(("a/b", &["F"])));
    check("a/b.F-range1", Some(("a/b", &["F"])));
    check("a/b.func1", Some(("a/b", &["func1"])));
    check("a/b.init.0", Some(("a/b", &["init"])));
    check("a/b.glob..func1", Some(("a/b", &["glob"])));
    check("gopkg.in/yaml%2ev3.Unmarshal", Some(("gopkg.in/yaml.v3", &["Unmarshal"])));
    check("a/b.Map[...]", Some(("a/b", &["Map"])));
    check("a/b.(*Set[...]).Add", Some(("a/b", &["Set", "Add"])));
    check("a/b.F[go.shape.struct { c/d.X int }].func1", Some(("a/b", &["F"])));
    check("type:.eq.a/b.T", None);
    check("go:buildid", None);
    check("_cgo_init", None);
    check(".x", None);
    assert_eq!(super::super::go_name("(*Client).Do"), "Client.Do");
    assert_eq!(super::super::go_name("Client.Do"), "Client.Do");
    assert_eq!(super::super::go_name(""), "");
}

#[test]
fn paths_as_advisories_write_them() {
    let origin = Origin {
        main: "example.com/shop/cmd/shop".into(),
        replaced: vec![("example.com/a".into(), "example.com/fork".into())],
        ..Origin::default()
    };
    let check = |package: &str, expected: &[&str]| {
        assert_eq!(import_paths(package, &origin), expected, "{package}");
    };
    check("main", &["main", "example.com/shop/cmd/shop"]);
    check("vendor/golang.org/x/net/http", &["golang.org/x/net/http"]);
    check("a/vendor/b/vendor/c/d", &["c/d"]);
    check("example.com/a/b", &["example.com/fork/b", "example.com/a/b"]);
    check("example.com/a", &["example.com/fork", "example.com/a"]);
    check("example.com/ab", &["example.com/ab"]);
    check("a/b%2", &["a/b%2"]);
}

/// A table of `names` in the form of `magic`.
pub(super) fn table(magic: u32, word_bytes: usize, is_little: bool, names: &[&str]) -> Vec<u8> {
    let put = |out: &mut Vec<u8>, value: usize, n: usize| {
        let bytes = (value as u64).to_le_bytes();
        let bytes = bytes[..n].iter().copied();
        if is_little { out.extend(bytes) } else { out.extend(bytes.rev()) }
    };
    let mut out = Vec::new();
    put(&mut out, magic as usize, 4);
    out.extend([0, 0, 1, word_bytes as u8]);
    put(&mut out, names.len(), word_bytes);
    let (mut text, mut starts) = (Vec::new(), Vec::new());
    for name in names {
        starts.push(text.len());
        text.extend(name.as_bytes());
        text.push(0);
    }
    let is_wide = matches!(magic, MAGIC_1_2 | MAGIC_1_16);
    let entry = if is_wide { word_bytes } else { 4 };
    let index_bytes = (names.len() * 2 + 1) * entry;
    let mut index = Vec::new();
    if magic == MAGIC_1_2 {
        let functions_at = out.len() + index_bytes;
        let text_at = functions_at + names.len() * (word_bytes + 4);
        for number in 0..names.len() {
            put(&mut index, 0, word_bytes);
            put(&mut index, functions_at + number * (word_bytes + 4), word_bytes);
        }
        put(&mut index, 0, word_bytes);
        out.extend(index);
        for start in starts {
            put(&mut out, 0, word_bytes);
            put(&mut out, text_at + start, 4);
        }
        out.extend(text);
        return out;
    }
    let n_words = if magic == MAGIC_1_16 { 6 } else { 7 };
    let text_at = out.len() + n_words * word_bytes;
    let end = text_at + text.len();
    put(&mut out, 0, word_bytes);
    if n_words == 7 {
        put(&mut out, 0, word_bytes);
    }
    for place in [text_at, end, end, end, end] {
        put(&mut out, place, word_bytes);
    }
    out.extend(text);
    for number in 0..names.len() {
        put(&mut index, 0, entry);
        put(&mut index, index_bytes + number * (entry + 4), entry);
    }
    put(&mut index, 0, entry);
    out.extend(index);
    for start in starts {
        put(&mut out, 0, entry);
        put(&mut out, start, 4);
    }
    out
}

const NAMES: [&str; 4] = ["runtime.goexit", "runtime.main", "a/b.(*T).Do", "main.main"];

fn modern() -> Origin {
    Origin { minor: Some(22), ..Origin::default() }
}

#[test]
fn what_casts_doubt_on_absence() {
    let check = |name: &str, expected: &[&str]| {
        assert_eq!(inlined_names(name).collect::<Vec<_>>(), expected, "{name}");
    };
    check("main.Closure.func1", &["Closure", "func1"]);
    check("main.(*Box).Each.func1.2", &["Box", "Each", "func1"]);
    check("main.main", &[]);
    check("(*T).Do", &[]);
    let check = |file: &str, expected: Option<&str>| {
        assert_eq!(folder(file.as_bytes()), expected, "{file}");
    };
    check("/root/go/pkg/mod/golang.org/x/net@v0.7.0/http2/frame.go", Some("http2"));
    check("example.com/kit@v1.2.3/kit.go", Some("kit"));
    check("github.com/a/b/v2@v2.0.0/b.go", Some("b"));
    check("_cgo_gotypes.go", None);
    let bytes = table(MAGIC_1_18, 8, true, &NAMES);
    let program = functions("bin/a", &bytes, &Origin { minor: Some(21), ..modern() });
    assert!(program.has_folders && program.doubt.unwrap().contains("1.22"));
}

#[test]
fn every_form_of_the_table() {
    let check = |magic: u32, word_bytes: usize, is_little: bool, is_whole: bool| {
        let bytes = table(magic, word_bytes, is_little, &NAMES);
        let header = Header::read(&bytes, is_little).unwrap();
        let program = header.table().unwrap().program("bin/a", &modern());
        assert_eq!(program.doubt.is_none(), is_whole, "{magic:x} {word_bytes} {is_little}");
        let hashes = program.functions.hashes();
        let has =
            |package: &str, name: &str| hashes.binary_search(&function_hash(package, name)).is_ok();
        assert!(has("a/b", "T.Do") && has("a/b", "") && has("a/b", "T") && has("main", "main"));
        assert!(!has("a/b", "Do") && !has("a", "") && !has("a/b", "T.Don"));
        for cut in 0..bytes.len() {
            let _ = Header::read(&bytes[..cut], is_little).and_then(|header| header.table());
        }
    };
    for (magic, is_whole) in
        [(MAGIC_1_2, false), (MAGIC_1_16, true), (MAGIC_1_18, true), (MAGIC_1_20, true)]
    {
        for word_bytes in [4, 8] {
            check(magic, word_bytes, true, is_whole);
            check(magic, word_bytes, false, is_whole);
        }
    }
}

#[test]
fn a_table_is_found_without_sections_and_after_false_ones() {
    let mut bytes = b"\x7fELF and no more\xf1\xff\xff\xff\0\0\x01\x08 no table".to_vec();
    bytes.extend(table(MAGIC_1_20, 8, true, &NAMES));
    let program = functions("bin/a", &bytes, &modern());
    assert_eq!(program.doubt, None);
    assert_eq!(program.path, "/bin/a");
    let program = functions("bin/a", b"\x7fELF", &modern());
    assert!(program.doubt.unwrap().contains("not found"));
    // Another library's, or renamed.
    let bytes = table(MAGIC_1_20, 8, true, &NAMES[1..]);
    assert!(functions("bin/a", &bytes, &modern()).doubt.unwrap().contains("run-time"));
}

#[test]
fn a_table_whose_functions_lead_nowhere_is_none() {
    let mut bytes = table(MAGIC_1_20, 8, true, &NAMES);
    let at = bytes.len() - 4;
    bytes[at] += 1;
    assert!(Header::read(&bytes, true).unwrap().table().is_none());
    let mut many = table(MAGIC_1_20, 8, true, &NAMES);
    many[8..16].copy_from_slice(&(FUNCTIONS_MAX as u64 + 1).to_le_bytes());
    assert!(Header::read(&many, true).unwrap().table().is_none());
}

proptest! {
    #[test]
    fn reading_is_total(at in 0_usize..400, value: u8, magic in 0_usize..4) {
        let magic = [MAGIC_1_2, MAGIC_1_16, MAGIC_1_18, MAGIC_1_20][magic];
        let mut bytes = table(magic, 8, true, &NAMES);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        let _ = functions("a", &bytes, &modern());
    }
}
