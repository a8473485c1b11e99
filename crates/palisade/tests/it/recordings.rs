//! `palisade capture` and `palisade replay` on captures of both forms.

use std::path::Path;

use serde_json::Value;

use crate::support::run;

/// Appends a block of a `.scap` file.
fn block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    let length = (body.len() as u32 + 12).to_le_bytes();
    out.extend([&kind.to_le_bytes()[..], &length, &body, &length].concat());
}

/// A capture of one thread that opens three files, in version 1.`minor`.
fn scap(minor: u16) -> Vec<u8> {
    let mut out = Vec::new();
    let section = [
        &0x1a2b_3c4d_u32.to_le_bytes()[..],
        &1_u16.to_le_bytes(),
        &minor.to_le_bytes(),
        &[0xff; 8],
    ];
    block(&mut out, 0x0a0d_0d0a, &section.concat());
    for (n, name) in ["/etc/passwd", "/etc/shadow", "/etc/group"].iter().enumerate() {
        let mut params: Vec<Vec<u8>> = vec![3_i64.to_le_bytes().to_vec()];
        params.push([name.as_bytes(), b"\0"].concat());
        params.extend([1_u32, 0, 0].map(|number| number.to_le_bytes().to_vec()));
        params.push(9_u64.to_le_bytes().to_vec());
        let mut event = Vec::new();
        event.extend((1_000 + n as u64).to_le_bytes());
        event.extend(7_i64.to_le_bytes());
        let length = 26 + 2 * params.len() + params.iter().map(Vec::len).sum::<usize>();
        event.extend((length as u32).to_le_bytes());
        event.extend(3_u16.to_le_bytes());
        event.extend((params.len() as u32).to_le_bytes());
        event.extend(params.iter().flat_map(|param| (param.len() as u16).to_le_bytes()));
        event.extend(params.concat());
        // With flags, without, and as a large one: three kinds of block say the same.
        match n {
            0 => block(&mut out, 0x216, &[&2_u16.to_le_bytes()[..], &event].concat()),
            1 => block(&mut out, 0x217, &[&[2, 0][..], &[0; 4], &event].concat()),
            _ => block(&mut out, 0x221, &[&2_u16.to_le_bytes()[..], &event].concat()),
        }
        // A block of a kind that nobody knows is passed over.
        block(&mut out, 0x7000 + n as u32, b"what is this");
    }
    out
}

const RULES: &str = "- rule: Shadow
  desc: Shadow opened
  condition: evt.type = open and fd.name = /etc/shadow
  output: opened %fd.name by %thread.tid on %evt.cpu at %evt.num
  priority: WARNING
";

fn replay(folder: &Path, file: &str) -> String {
    let args = ["replay", "--rules", "rules.yaml", "--format", "json", file];
    run(folder, &args).expect(0).stdout
}

#[test]
fn captures_go_one_way_and_the_other_and_show_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("rules.yaml"), RULES).unwrap();
    for minor in 0..=2 {
        std::fs::write(path.join("a.scap"), scap(minor)).unwrap();
        let alerts = replay(path, "a.scap");
        assert_eq!(alerts.lines().count(), 1, "{alerts}");
        assert!(alerts.contains("opened /etc/shadow by 7 on 2 at 2"), "{alerts}");
        // Unknown blocks are no events; what was passed over is said.
        let ended = run(path, &["capture", "convert", "a.scap", "b.palcap"]).expect(4);
        assert!(ended.stderr.contains("3 parts of an unknown kind"), "{}", ended.stderr);
        assert_eq!(replay(path, "b.palcap"), alerts);
        run(path, &["capture", "convert", "b.palcap", "c.scap"]).expect(0);
        assert_eq!(replay(path, "c.scap"), alerts);
        let info = run(path, &["capture", "info", "--format", "json", "b.palcap"]).expect(0);
        let info: Value = serde_json::from_str(&info.stdout).unwrap();
        assert_eq!(info["n_by_type"]["open"], 3, "{info}");
        assert_eq!(info["sections"][0]["live"], false, "{info}");
        let shown = run(path, &["capture", "info", "a.scap"]).expect(0).stdout;
        assert!(shown.contains("events     3, ") && shown.contains("unknown    3"), "{shown}");
        let types = run(path, &["capture", "info", "--format", "tsv", "c.scap"]).expect(0).stdout;
        assert_eq!(types, "open\t3\n");
        for made in ["b.palcap", "c.scap"] {
            std::fs::remove_file(path.join(made)).unwrap();
        }
    }
}

#[test]
fn captures_that_cannot_be_used_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let write = |name: &str, bytes: &[u8]| std::fs::write(path.join(name), bytes).unwrap();
    write("rules.yaml", RULES.as_bytes());
    write("a.scap", &scap(2));
    write("text.palcap", b"hello, world, this is no recording at all");
    run(path, &["capture", "convert", "a.scap", "a.palcap"]).expect(4);
    let whole = std::fs::read(path.join("a.palcap")).unwrap();
    let mut newer = whole.clone();
    newer[8] = 9;
    write("newer.palcap", &newer);
    write("cut.palcap", &whole[..whole.len() - 1]);
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    write("damaged.palcap", &damaged);
    let mut newer = scap(2);
    newer[12] = 2;
    write("newer.scap", &newer);
    for command in [&["capture", "info"][..], &["replay", "--rules", "rules.yaml"]] {
        let on = |file: &'static str| run(path, &[command, &[file]].concat());
        on("text.palcap").expect_error(3, "file does not begin as a capture");
        on("newer.palcap").expect_error(3, "format version 9.0, which is newer than 1.x");
        on("newer.scap").expect_error(3, "format version 2.2, which is newer than 1.x");
        let cut = on("cut.palcap").expect(4);
        assert!(cut.stderr.contains("ends inside the chunk at offset"), "{}", cut.stderr);
        let damaged = on("damaged.palcap").expect(4);
        assert!(damaged.stderr.contains("its checksum is wrong"), "{}", damaged.stderr);
    }
    let convert =
        |from: &'static str, to: &'static str| run(path, &["capture", "convert", from, to]);
    convert("a.palcap", "b.palcap").expect_error(2, "does not end in .scap");
    convert("a.scap", "b.scap").expect_error(2, "does not end in .palcap");
    convert("a.scap", "a.palcap").expect_error(3, "create `a.palcap`");
    convert("absent", "b.palcap").expect_error(3, "open capture `absent`");
    convert("text.palcap", "b.palcap").expect_error(3, "file does not begin as a capture");
    assert!(!path.join("b.palcap").exists(), "nothing is left of what failed");
    assert_eq!(std::fs::read(path.join("a.palcap")).unwrap(), whole);
}
