//! Conditions over the synthetic events of libsinsp's tests, as far as a row tells them.

use std::net::IpAddr;

use super::Table;
use super::compiler::holds;
use crate::schema::{Owned, TestEvent, TestSchema, read_json, text};

fn ip(address: &str) -> Owned {
    Owned::Ip(address.parse::<IpAddr>().unwrap())
}

/// The event of a test, where its source says enough about it.
fn event(schema: &'static TestSchema, file: &str, test: &str, filter: &str) -> Option<TestEvent> {
    let new = |event_type| TestEvent::new(schema, event_type);
    Some(match (file, test) {
        ("filter_compiler.ut.cpp", _) => new("getcwd")
            .with("syscall.type", [text("getcwd")])
            .with("evt.source", [text("syscall")])
            .with("evt.arg[1]", [text("/test/dir")])
            .with("sample.is_open", [Owned::Uint(0)])
            .with("sample.proc_name", [text("init")])
            .with("sample.tick", [text("false")])
            .with("fd.ip", [ip("142.251.111.147"), ip("172.40.111.222")])
            .with("fd.net", [ip("142.251.111.147"), ip("172.40.111.222")]),
        ("filter_op_bcontains.ut.cpp", _) => {
            new("write").with("evt.buffer", [Owned::Bytes(b"hello\0".to_vec())])
        }
        ("filter_op_contains.ut.cpp", _) => new("openat")
            .with("evt.arg[flags]", [text("O_RDONLY|O_CREAT")])
            .with("fd.name", [text("/opt/dir/SUBDIR/file.txt")]),
        ("filter_op_pmatch.ut.cpp", _) => {
            new("openat").with("fd.name", [text("/opt/dir/subdir/file.txt")])
        }
        ("filter_op_net_compare.ut.cpp", "net_ipv6_compare") => {
            let address = || [ip("2001:4860:4860::8888"), ip("2001:4860:4860::8888")];
            let one = || [ip("2001:4860:4860::8888")];
            new("connect")
                .with("fd.ip", address())
                .with("fd.net", address())
                .with("fd.sip", one())
                .with("fd.cip", one())
                .with("fd.lip", one())
        }
        ("filter_op_net_compare.ut.cpp", _) => {
            let server = || ip("142.251.111.147");
            let client = || ip("172.40.111.222");
            new("connect")
                .with("fd.ip", [client(), server()])
                .with("fd.net", [client(), server()])
                .with("fd.sip", [server()])
                .with("fd.cip", [client()])
                .with("fd.rip", [client()])
        }
        ("filter_op_numeric_compare.ut.cpp", _) => new("open")
            .with("evt.cpu", [Owned::Int(1)])
            .with("evt.rawarg[res]", [Owned::Int(-2)])
            .with("fd.num", [Owned::Int(-1)]),
        ("filter_transformer.ut.cpp", _) => {
            let mut types = vec![text("file")];
            if filter == "len(fd.types) = 2" {
                types.push(text("ipv4"));
            }
            new("execve")
                .with("fd.name", [text("/tmp/file_to_run")])
                .with("fd.directory", [text("/tmp")])
                .with("fd.types", types)
                .with("evt.num", [Owned::Uint(1)])
        }
        ("plugins.ut.cpp", _) => new("open")
            .with("sample.proc_name", [text("init")])
            .with("sample.is_open", [Owned::Uint(1)])
            .with("sample.tick", [text("false")]),
        ("cmp_operator_modifiers.cpp", _) => new("execve").with("proc.name", [text("myexe")]),
        ("proc.cpp", "PROC_FILTER_aname") => {
            new("execve").with("proc.aname", [text("good-exe"), text("bash"), text("init")])
        }
        ("rawarg.cpp", _) => new("open")
            .with("evt.rawarg[size]", [Owned::Uint(4096)])
            .with("evt.rawarg[flags]", [Owned::Uint(514)])
            .with("evt.rawarg[pgid]", [Owned::Int(0)]),
        _ => return None,
    })
}

#[test]
fn eval_filter_inline() {
    let (Some(rows), Some(schema)) =
        (read_json("tables/eval_filter_inline.json"), TestSchema::falco())
    else {
        return;
    };
    let mut table = Table::new("eval_filter_inline");
    for row in rows.as_array().unwrap() {
        let part = |key: &str| row[key].as_str().unwrap();
        let (file, test, filter) = (part("file"), part("test"), part("filter"));
        let expected = row["expect"].as_bool().unwrap();
        match event(schema, file, test, filter) {
            None => table.skip(format!("the event of {file} is not told")),
            Some(event) => {
                let result = holds(filter, schema, &event);
                table.row(result == Ok(expected), || {
                    format!("{test}: `{filter}`: {result:?}, not {expected}")
                });
            }
        }
    }
    table.finish();
}
