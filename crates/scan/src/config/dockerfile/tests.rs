//! Tests of the Dockerfile reader.

use super::*;

/// `line:column KEYWORD words` of every instruction, stages as `FROM`.
fn shown(text: &str) -> Vec<String> {
    let (build, problems) = parse(text);
    let mut out = Vec::new();
    for stage in &build.stages {
        let base = stage.base.as_ref().map(|base| format!("{:?}", base.value)).unwrap_or_default();
        out.push(format!("{}:{} FROM {base}", stage.place.line, stage.place.column));
        for i in &stage.instructions {
            let words: Vec<String> = i
                .words
                .iter()
                .map(|w| if w.is_known { w.text.clone() } else { format!("?{}", w.text) })
                .collect();
            let onbuild = if i.is_onbuild { "ONBUILD " } else { "" };
            let rest = if words.is_empty() { i.text.clone() } else { words.join("·") };
            out.push(format!("{}:{} {onbuild}{} {rest}", i.place.line, i.place.column, i.keyword));
        }
    }
    out.extend(
        problems.iter().map(|p| format!("{}:{} ! {}", p.place.line, p.place.column, p.message)),
    );
    out
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(shown(text), expected, "{text}");
}

#[test]
fn instructions_have_places() {
    check(
        "# syntax=docker/dockerfile:1\n\nFROM alpine:3 AS build\n  run make \\\n# a remark\n\n   install\nuser 1000\n",
        &["3:1 FROM Image(\"alpine:3\")", "4:3 RUN make    install", "8:1 USER 1000"],
    );
    check("FROM a\r\nUSER b\r\n", &["1:1 FROM Image(\"a\")", "2:1 USER b"]);
    check("# escape=`\nFROM a\nRUN x `\n y\\\n", &["2:1 FROM Image(\"a\")", "3:1 RUN x  y\\"]);
}

#[test]
fn variables_are_expanded_as_docker_does() {
    check(
        "ARG TAG=3.19\nARG REG\nFROM alpine:${TAG}\nFROM ${REG}/x\nFROM y:${NONE:-1}\n",
        &[
            "3:1 FROM Image(\"alpine:3.19\")",
            "4:1 FROM Unknown(\"${REG}/x\")",
            "5:1 FROM Image(\"y:1\")",
        ],
    );
    check(
        "ARG A=1\nFROM x\nENV B=$A C=2\nARG A\nENV D=${A}-${C:+set} E=\\$C\nUSER $D\nWORKDIR /w/$Z\n",
        &[
            "2:1 FROM Image(\"x\")",
            "3:1 ENV ?B=$A·C=2",
            "4:1 ARG A",
            "5:1 ENV D=1-set·E=$C",
            "6:1 USER 1-set",
            "7:1 WORKDIR ?/w/$Z",
        ],
    );
    check(
        "FROM x\nENV A one two\nLABEL \"a b\"=\"c d\"\n",
        &["1:1 FROM Image(\"x\")", "2:1 ENV A·one·two", "3:1 LABEL a b=c d"],
    );
}

#[test]
fn stages_refer_to_stages() {
    let (build, _) = parse(
        "FROM a AS Base\nUSER 1\nFROM b AS other\nRUN x\nFROM base\nCOPY --from=other --chown=1:1 /x /y\n",
    );
    assert_eq!(build.stages[2].base.as_ref().unwrap().value, Base::Stage(0));
    let keywords: Vec<&str> = build.image_instructions().map(|i| i.keyword.as_str()).collect();
    assert_eq!(keywords, ["USER", "COPY"]);
    let copy = build.image_instructions().last().unwrap();
    assert_eq!((copy.flag("from"), copy.flag("chown")), (Some("other"), Some("1:1")));
    assert_eq!((copy.words[0].text.as_str(), copy.words[0].place.column), ("/x", 31));
}

#[test]
fn here_documents_are_scripts_or_files() {
    let text = "FROM a\nRUN <<EOF\nset -e\n\ncurl -k x\nEOF\nCOPY <<-'A' <<B /x/\n\tone\n\tA\ntwo\nB\nRUN python3 <<EOF\ncurl -k x\nEOF\nUSER 1\n";
    let (build, problems) = parse(text);
    assert!(problems.is_empty(), "{problems:?}");
    let stage = build.last().unwrap();
    let steps = stage.instructions[0].commands();
    let shown: Vec<String> =
        steps.iter().map(|s| format!("{} {}", s.place.line, s.command.shown())).collect();
    assert_eq!(shown, ["3 set -e", "5 curl -k x"]);
    let texts: Vec<&str> = stage.instructions[1].heredocs.iter().map(|h| h.text.as_str()).collect();
    assert_eq!(texts, ["one\n", "two\n"]);
    assert_eq!(stage.instructions.len(), 4);
    assert_eq!(parse("FROM a\nRUN <<EOF\nx\n").1.len(), 1);
}

#[test]
fn commands_of_continued_lines_have_their_own_lines() {
    let (build, _) = parse(
        "FROM a\nRUN apt-get update && \\\n    curl -k https://x | \\\n    sh\nCMD [\"sh\", \"-c\", \"a && b\"]\n",
    );
    let stage = build.last().unwrap();
    let places: Vec<(usize, usize)> =
        stage.instructions[0].commands().iter().map(|s| (s.place.line, s.place.column)).collect();
    assert_eq!(places, [(2, 5), (3, 5), (4, 5)]);
    assert_eq!(stage.instructions[1].commands().len(), 2);
}

#[test]
fn what_makes_no_sense_is_said() {
    check("RUN x\n", &["1:1 ! `RUN` before the first `FROM`"]);
    check("", &["1:1 ! no `FROM`"]);
    check("FROM\n", &["1:1 ! `FROM` of nothing"]);
    check("FROM a\nRUNN x\n", &["1:1 FROM Image(\"a\")", "2:1 ! unknown instruction `RUNN`"]);
    check("FROM a\nONBUILD RUN x\n", &["1:1 FROM Image(\"a\")", "2:1 ONBUILD RUN x"]);
    let many = format!("FROM a\n{}", "USER x\n".repeat(INSTRUCTIONS_MAX));
    assert_eq!(parse(&many).1.len(), 1);
    assert_eq!(parse(&" ".repeat(FILE_BYTES_MAX + 1)).1.len(), 1);
}

#[test]
fn expansion_is_bounded() {
    let mut text = String::from("FROM x\nENV A=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n");
    for _ in 0..40 {
        text.push_str("ENV A=$A$A$A$A\n");
    }
    let (build, _) = parse(&text);
    let longest = build.instructions().flat_map(|i| &i.words).map(|w| w.text.len()).max().unwrap();
    assert!(longest <= EXPANDED_BYTES_MAX + 16, "{longest}");
}

#[test]
fn history_is_read_as_instructions() {
    let check = |step: &str, expected: Option<(&str, &str)>| {
        let found = parse_history_step(step, 1);
        let shown = found.as_ref().map(|i| (i.keyword.as_str(), i.text.as_str()));
        assert_eq!(shown, expected, "{step}");
    };
    check("/bin/sh -c #(nop)  CMD [\"bash\"]", Some(("CMD", "[\"bash\"]")));
    check("RUN /bin/sh -c apt-get update # buildkit", Some(("RUN", "apt-get update")));
    check("RUN |1 V=2 /bin/sh -c make # buildkit", Some(("RUN", "make")));
    check("|1 V=2 /bin/sh -c make", Some(("RUN", "make")));
    check("/bin/sh -c make", Some(("RUN", "make")));
    check("COPY a /b # buildkit", Some(("COPY", "a /b")));
    check("bazel build ...", None);
}

#[test]
fn a_dockerfile_is_told_by_its_text() {
    assert!(looks_like("# x\nARG A\nFROM b\n") && looks_like("from b\n"));
    assert!(!looks_like("from: b\n") && !looks_like("kind: Pod\n") && !looks_like("ARG x\n"));
}
