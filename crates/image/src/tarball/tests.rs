//! Tests of the tar reader: formats, overrides, damage, limits.

use super::*;

/// A ustar header with a right checksum.
fn header(path: &[u8], flag: u8, size: u64) -> [u8; BLOCK] {
    let mut block = [0_u8; BLOCK];
    block[..path.len()].copy_from_slice(path);
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"00000000000\0");
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    sum(&mut block);
    block
}

fn sum(block: &mut [u8; BLOCK]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn entry(path: &str, flag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = header(path.as_bytes(), flag, content.len() as u64).to_vec();
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    out
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut body = String::new();
    for (key, value) in records {
        let rest = format!(" {key}={value}\n");
        let mut length = rest.len() + 1;
        while length != rest.len() + length.to_string().len() {
            length = rest.len() + length.to_string().len();
        }
        body.push_str(&length.to_string());
        body.push_str(&rest);
    }
    entry("pax", b'x', body.as_bytes())
}

/// Paths and contents of an archive, and how reading ended.
fn read(archive: &[u8], limits: &Limits) -> (Vec<(String, String)>, Option<TarError>) {
    let mut reader = TarReader::new(archive, limits, limits.entries_max);
    let mut found = Vec::new();
    loop {
        let step = reader.next_entry().and_then(|entry| match entry {
            None => Ok(None),
            Some(entry) => {
                let mut content = String::new();
                reader.read_to_string(&mut content)?;
                Ok(Some((String::from_utf8_lossy(&entry.path).into_owned(), content)))
            }
        });
        match step {
            Ok(Some(one)) => found.push(one),
            Ok(None) => return (found, None),
            Err(error) => {
                let tar = error.get_ref().and_then(|inner| inner.downcast_ref::<TarError>());
                return (found, Some(tar.cloned().expect("a typed error")));
            }
        }
    }
}

#[track_caller]
fn check(archive: &[&[u8]], expected: &[(&str, &str)]) {
    let (found, error) = read(&archive.concat(), &Limits::default());
    let expected: Vec<(String, String)> =
        expected.iter().map(|(a, b)| ((*a).to_string(), (*b).to_string())).collect();
    assert_eq!((found, error), (expected, None));
}

const END: &[u8] = &[0; 2 * BLOCK];

#[test]
fn reads_plain_archives() {
    let a = entry("a", b'0', b"hello");
    let folder = entry("d/", b'5', b"");
    check(&[&a, &folder, END], &[("a", "hello"), ("d/", "")]);
    // An end without zeros, and what follows the end.
    check(&[&a], &[("a", "hello")]);
    check(&[&a, END, &a], &[("a", "hello")]);
    check(&[], &[]);
}

#[test]
fn extended_headers_override_as_in_go() {
    let file = entry("short", b'0', b"12345");
    check(&[&pax(&[("path", "long")]), &file, END], &[("long", "12345")]);
    let gnu = entry("././@LongLink", b'L', b"gnu\0");
    check(&[&pax(&[("path", "pax")]), &gnu, &file, END], &[("gnu", "12345")]);
    // Global headers change nothing.
    let global = entry("pax", b'g', b"12 path=all\n");
    check(&[&global, &file, END], &[("short", "12345")]);
    // A PAX size moves the next header: what looks like one within is content.
    let inner = entry("smuggled", b'0', b"");
    let mut liar = header(b"outer", b'0', 0).to_vec();
    liar.extend_from_slice(&inner);
    let (found, error) =
        read(&[pax(&[("size", "512")]), liar, END.to_vec()].concat(), &Limits::default());
    assert_eq!(error, None);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, "outer");
    // Folders and links have no content whatever they say.
    let mut folder = header(b"d", b'5', 512);
    sum(&mut folder);
    check(&[&folder, &file, END], &[("d", ""), ("short", "12345")]);
}

#[test]
fn reads_pax_metadata() {
    let records = [
        ("uid", "70000"),
        ("gid", "5000000000"),
        ("mtime", "-1.25"),
        ("SCHILY.xattr.user.b", "2"),
        ("SCHILY.xattr.user.a", "1"),
        ("SCHILY.xattr.user.a", "3"),
        ("comment", "ignored"),
    ];
    let archive = [pax(&records), entry("f", b'0', b""), END.to_vec()].concat();
    let limits = Limits::default();
    let found = TarReader::new(&archive[..], &limits, 9).next_entry().unwrap().unwrap();
    assert_eq!((found.uid, found.gid), (70_000, 5_000_000_000));
    assert_eq!((found.mtime, found.mtime_nanos), (-2, 750_000_000));
    let xattr = |name: &str, value: &str| (name.to_string(), value.as_bytes().to_vec());
    assert_eq!(found.xattrs, [xattr("user.a", "3"), xattr("user.b", "2")]);
    assert_eq!(found.mode, 0o644);
}

#[test]
fn damage_is_a_typed_error() {
    let limits = Limits::default();
    let error = |archive: &[u8]| read(archive, &limits).1.expect("an error");
    let file = entry("a", b'0', b"hello");
    assert_eq!(error(&file[..100]), TarError::Truncated { offset: 100 });
    assert_eq!(error(&file[..514]), TarError::Truncated { offset: 514 });
    let mut bad = file.clone();
    bad[0] = b'b';
    assert_eq!(error(&bad), TarError::BadHeader { what: "checksum", offset: 0 });
    let mut bad = header(b"a", b'0', 0);
    bad[124] = b'x';
    sum(&mut bad);
    assert_eq!(error(&bad), TarError::BadHeader { what: "size", offset: 0 });
    // 2^63 - 1 bytes by base-256.
    let mut bad = header(b"a", b'0', 0);
    bad[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 255, 255, 255, 255, 255, 255, 255]);
    sum(&mut bad);
    assert_eq!(error(&bad), TarError::BadHeader { what: "size", offset: 0 });
    for body in ["12 path=all", "99 path=all\n", "x path=all\n", "0 \n", "6 path\n", "10 size=x\n"]
    {
        let archive = [entry("pax", b'x', body.as_bytes()), file.clone()].concat();
        assert_eq!(
            error(&archive),
            TarError::BadHeader { what: "PAX record", offset: 0 },
            "{body}"
        );
    }
    let mut half = [0_u8; 2 * BLOCK];
    half[BLOCK] = 1;
    assert!(matches!(error(&half), TarError::BadHeader { .. }));
}

#[test]
fn limits_hold() {
    let limits =
        Limits { pax_bytes_max: 64, entries_max: 3, xattr_bytes_max: 20, ..Limits::default() };
    let file = entry("a", b'0', b"");
    let archive = [pax(&[("path", &"x".repeat(80))]), file.clone()].concat();
    let too_large = TarError::ExtendedHeaderTooLarge { offset: 0, limit: 64 };
    assert_eq!(read(&archive, &limits).1, Some(too_large));
    let (found, error) = read(&file.repeat(4), &limits);
    assert_eq!((found.len(), error), (3, Some(TarError::TooManyEntries { limit: 3 })));
    let archive = [pax(&[("SCHILY.xattr.user.a", &"x".repeat(20))]), file].concat();
    let found = TarReader::new(&archive[..], &limits, 3).next_entry().unwrap().unwrap();
    assert!(found.xattrs.is_empty() && found.xattrs_dropped);
}

proptest::proptest! {
    #[test]
    fn any_bytes_end(mut bytes in proptest::collection::vec(0_u8..=255, 0..3000), fix in 0..4_u8) {
        // Random blocks rarely have a right checksum; give some one.
        if fix > 0 && bytes.len() >= BLOCK {
            let mut first: [u8; BLOCK] = bytes[..BLOCK].try_into().unwrap();
            if fix > 1 {
                first[100..136].fill(b'0');
                first[124..136].copy_from_slice(b"00000000700\0");
                first[156] = b"x0L"[usize::from(fix) - 1];
            }
            sum(&mut first);
            bytes[..BLOCK].copy_from_slice(&first);
        }
        let limits = Limits::default();
        let mut reader = TarReader::new(&bytes[..], &limits, 100);
        while let Ok(Some(_)) = reader.next_entry() {}
    }
}
