//! Configurations of LXC: what is found in them, and what is written instead.

use palisade_harden::lxc::{LxcError, LxcFacts, LxcHardened, LxcLevel, harden_lxc, harden_usernet};

use super::restricted as containers;

fn facts() -> LxcFacts {
    LxcFacts {
        name: "web".into(),
        first_id: 16_777_216,
        seccomp_path: "/var/lib/lxc/web/config.seccomp".into(),
        accept_ra: [("lxcbr0".to_string(), 1)].into(),
        ..LxcFacts::default()
    }
}

fn harden(text: &str) -> LxcHardened {
    let mut policy = containers();
    policy.capabilities = vec!["CHOWN".into(), "NET_BIND_SERVICE".into(), "SETUID".into()];
    policy.limits.pids = Some(512);
    harden_lxc(text, &policy, &facts()).unwrap()
}

/// A configuration, the key that a finding of this level names, and a line of what is written.
#[track_caller]
fn check(text: &str, key: &str, level: LxcLevel, written: &str) {
    let hardened = harden(text);
    let found = hardened.findings.iter().any(|f| f.key == key && f.level == level);
    assert!(found, "{text}: no {level:?} of {key} in {:#?}", hardened.findings);
    let has = hardened.config.lines().any(|line| line == written);
    assert!(has, "{text}: no `{written}` in {}", hardened.config);
}

#[test]
fn each_weakness_is_found_and_closed() {
    use LxcLevel::{High, Low, Medium, Note};
    for (text, key, level, written) in [
        ("", "lxc.idmap", High, "lxc.idmap = u 0 16777216 65536"),
        ("lxc.idmap = u 0 0 65536", "lxc.idmap", High, "lxc.idmap = g 0 16777216 65536"),
        (
            "lxc.idmap = u 0 100000 1000\nlxc.idmap = g 0 100000 65536",
            "lxc.idmap",
            Medium,
            "lxc.idmap = u 0 16777216 65536",
        ),
        ("", "lxc.cap.keep", Medium, "lxc.cap.keep = chown net_bind_service setuid"),
        ("lxc.cap.keep = chown sys_admin", "lxc.cap.keep", Medium, "lxc.cap.keep = chown"),
        ("lxc.cap.keep = sys_admin", "lxc.cap.keep", Medium, "lxc.cap.keep = none"),
        (
            "lxc.cap.drop = sys_module",
            "lxc.cap.keep",
            Medium,
            "# Taken out by palisade harden: lxc.cap.drop = sys_module",
        ),
        (
            "lxc.apparmor.profile = unconfined",
            "lxc.apparmor.profile",
            High,
            "lxc.apparmor.profile = generated",
        ),
        (
            "lxc.apparmor.allow_nesting = 1",
            "lxc.apparmor.allow_nesting",
            Medium,
            "lxc.apparmor.allow_nesting = 0",
        ),
        (
            "",
            "lxc.seccomp.profile",
            Medium,
            "lxc.seccomp.profile = /var/lib/lxc/web/config.seccomp",
        ),
        ("lxc.seccomp.profile =", "lxc.seccomp.profile", Medium, "lxc.no_new_privs = 1"),
        (
            "lxc.mount.auto = proc:rw sys:rw cgroup-full:rw",
            "lxc.mount.auto",
            High,
            "lxc.mount.auto = proc:mixed sys:ro cgroup:mixed",
        ),
        (
            "lxc.mount.entry = /etc etc/host none bind,rw 0 0",
            "lxc.mount.entry",
            High,
            "# Taken out by palisade harden: lxc.mount.entry = /etc etc/host none bind,rw 0 0",
        ),
        (
            "lxc.mount.entry = /srv/data data none bind,create=dir 0 0",
            "lxc.mount.entry",
            Low,
            "lxc.mount.entry = /srv/data data none bind,create=dir,nosuid,nodev 0 0",
        ),
        (
            "lxc.cgroup2.devices.allow = a",
            "lxc.cgroup2.devices.allow",
            High,
            "lxc.cgroup2.devices.deny = a",
        ),
        (
            "lxc.namespace.share.net = 1",
            "lxc.namespace.share.net",
            High,
            "lxc.cgroup2.pids.max = 512",
        ),
        ("lxc.net.0.type = none", "lxc.net.0.type", High, "lxc.net.0.type = empty"),
        ("lxc.include = /x.conf", "lxc.include", Note, "lxc.include = /x.conf"),
        ("lxc.hook.pre-start = /x", "lxc.hook.pre-start", Note, "lxc.hook.pre-start = /x"),
        (
            "lxc.net.0.type = veth\nlxc.net.0.link = lxcbr0",
            "lxc.net.0.link",
            Medium,
            "lxc.net.0.link = lxcbr0",
        ),
    ] {
        check(text, key, level, written);
    }
}

#[test]
fn a_hardened_configuration_has_nothing_left_to_mend() {
    let first = harden(
        "# mine\nlxc.uts.name = web\nlxc.net.0.type = veth\nlxc.net.0.link = lxcbr1\n\
         lxc.net.0.ipv4.address = 10.0.3.7/24\nlxc.mount.auto = proc:rw\n",
    );
    assert!(first.config.starts_with("# mine\nlxc.uts.name = web\n"), "{}", first.config);
    let second = harden(&first.config);
    let left: Vec<_> =
        second.findings.iter().filter(|finding| finding.level != LxcLevel::Note).collect();
    assert!(left.is_empty(), "{left:#?}");
    assert_eq!(second.config, first.config);
    // What it was named for the rules is in the configuration, too.
    let name = first.config.lines().find_map(|line| line.strip_prefix("lxc.net.0.veth.pair = "));
    let mac = first.config.lines().find_map(|line| line.strip_prefix("lxc.net.0.hwaddr = "));
    let (name, mac) = (name.unwrap(), mac.unwrap());
    for rule in [
        format!("iifname \"{name}\" ether saddr != {mac} drop"),
        format!("iifname \"{name}\" ip saddr != {{ 10.0.3.7, 0.0.0.0 }} drop"),
        format!("iifname \"{name}\" icmpv6 type {{ nd-router-advert, nd-redirect }} drop"),
    ] {
        assert!(first.filter.contains(&rule), "{rule}: {}", first.filter);
    }
    assert!(first.sysctl.contains("net.ipv6.conf.lxcbr1.accept_ra = 0"), "{}", first.sysctl);
    assert!(first.seccomp.starts_with("2\ndenylist\n[all]\n"));
    assert!(first.seccomp.contains("\nfinit_module errno 1\n"));
}

#[test]
fn what_is_no_configuration_is_refused_with_its_line() {
    let error = |text: &str| harden_lxc(text, &containers(), &facts()).unwrap_err();
    assert!(matches!(error("a = b\nrubbish"), LxcError::Line { line: 2, .. }));
    assert!(matches!(error("lxc.id_map = u 0 1 2"), LxcError::Old { line: 1, .. }));
    assert!(matches!(error("lxc.network.type = veth"), LxcError::Old { .. }));
    assert_eq!(error(&"#\n".repeat(10_001)), LxcError::TooLarge);
    assert_eq!(error(&"x".repeat((1 << 20) + 1)), LxcError::TooLarge);
}

#[test]
fn names_in_a_configuration_never_become_rules() {
    let hardened = harden(
        "lxc.net.0.type = veth\nlxc.net.0.veth.pair = x\" accept\nlxc.net.0.link = a b\n\
         lxc.net.0.hwaddr = 00:11:22:33:44:55 accept\nlxc.net.0.ipv4.address = 1.2.3.4 }/24\n",
    );
    assert!(!hardened.filter.contains("accept\n    "), "{}", hardened.filter);
    assert!(!hardened.filter.contains("x\" accept"), "{}", hardened.filter);
    assert!(hardened.sysctl.is_empty());
}

/// LXC passes over the keys of the version of control groups that a machine does not have.
#[test]
fn limits_are_written_for_both_versions_of_control_groups() {
    let check = |text: &str, expected: &[&str]| {
        let hardened = harden(text);
        for line in expected {
            let n = hardened.config.lines().filter(|known| known == line).count();
            assert_eq!(n, 1, "{text}: `{line}` in {}", hardened.config);
        }
        let again = harden(&hardened.config);
        assert_eq!(again.config, hardened.config, "{text}");
    };
    check("", &["lxc.cgroup2.pids.max = 512", "lxc.cgroup.pids.max = 512"]);
    check("", &["lxc.cgroup.devices.deny = a", "lxc.cgroup.devices.allow = c 1:3 rwm"]);
    check("lxc.cgroup2.devices.deny = a", &["lxc.cgroup.devices.deny = a"]);
    // Its owner's limit holds for both.
    check("lxc.cgroup2.pids.max = 99", &["lxc.cgroup.pids.max = 99"]);
    check("lxc.cgroup.memory.limit_in_bytes = 1G", &["lxc.cgroup2.memory.max = 1G"]);
    check(
        "lxc.cgroup2.cpu.max = 30000 50000",
        &["lxc.cgroup.cpu.cfs_quota_us = 30000", "lxc.cgroup.cpu.cfs_period_us = 50000"],
    );
    check("lxc.cgroup.cpu.cfs_quota_us = 7000", &["lxc.cgroup2.cpu.max = 7000 100000"]);
}

/// What limits nothing is no limit: the policy's holds, in the words of each version.
#[test]
fn a_limit_that_limits_nothing_is_none() {
    use LxcLevel::{Low, Note};
    let check = |memory, text: &str, expected: &[&str], level: Option<LxcLevel>| {
        let mut policy = containers();
        policy.limits.memory_bytes = memory;
        (policy.limits.pids, policy.limits.cpu_millis) = (Some(512), Some(500));
        let hardened = harden_lxc(text, &policy, &facts()).unwrap();
        for line in expected {
            let n = hardened.config.lines().filter(|known| known == line).count();
            assert_eq!(n, 1, "{text}: `{line}` in {}", hardened.config);
        }
        let found = hardened.findings.iter().find(|finding| finding.line == 1);
        assert_eq!(found.map(|finding| finding.level), level, "{text}: {found:?}");
        let again = harden_lxc(&hardened.config, &policy, &facts()).unwrap();
        assert_eq!(again.config, hardened.config, "{text}");
    };
    let (newer, older) = ("lxc.cgroup2.memory.max", "lxc.cgroup.memory.limit_in_bytes");
    let gib = [format!("{newer} = 1073741824"), format!("{older} = 1073741824")];
    let gib = [gib[0].as_str(), gib[1].as_str()];
    for none in [newer, older].map(|key| ["max", "-1", "9223372036854771712"].map(|v| (key, v))) {
        for (key, value) in none {
            check(Some(1 << 30), &format!("{key} = {value}"), &gib, Some(Low));
        }
    }
    // One that is a limit holds for the version that has none.
    let text = format!("{newer} = max\n{older} = 64M");
    check(Some(1 << 30), &text, &[&format!("{newer} = 64M")], Some(Low));
    // Where the policy has none either, nothing is written but in the kernel's words.
    let text = format!("{newer} = max");
    check(None, &text, &[&text], None);
    let text = format!("{older} = max");
    check(None, &text, &[&format!("{older} = -1")], Some(Low));
    // Above the policy's it holds, and is said.
    let text = format!("{newer} = 2G");
    check(Some(1 << 30), &text, &[&text, &format!("{older} = 2G")], Some(Note));
    check(Some(2 << 30), &text, &[&text], None);
    check(None, "lxc.cgroup.pids.max = 600", &["lxc.cgroup2.pids.max = 600"], Some(Note));
    check(None, "lxc.cgroup.pids.max = max", &["lxc.cgroup.pids.max = 512"], Some(Low));
    let cpu = [
        "lxc.cgroup2.cpu.max = 50000 100000",
        "lxc.cgroup.cpu.cfs_quota_us = 50000",
        "lxc.cgroup.cpu.cfs_period_us = 100000",
    ];
    check(None, "lxc.cgroup2.cpu.max = max", &cpu, Some(Low));
    check(None, "lxc.cgroup.cpu.cfs_quota_us = -1", &cpu, Some(Low));
    check(None, "lxc.cgroup2.cpu.max = 60000", &["lxc.cgroup2.cpu.max = 60000"], Some(Note));
    check(None, "lxc.cgroup2.cpu.max = 20000 40000", &["lxc.cgroup2.cpu.max = 20000 40000"], None);
}

/// LXC applies the lines in order: what is closed after the owner's device takes it away.
#[test]
fn devices_that_the_owner_gives_stay_given() {
    let check = |text: &str, groups: &[&str]| {
        let hardened = harden(text);
        for group in groups {
            let at = |line: &str| {
                let wanted = format!("{group}.devices.{line}");
                let last = hardened.config.lines().collect::<Vec<_>>();
                let at = last.iter().rposition(|known| **known == wanted);
                at.unwrap_or_else(|| panic!("{text}: no `{wanted}` in {}", hardened.config))
            };
            let deny = at("deny = a");
            for device in ["c 10:200 rwm", "c 1:3 rwm"] {
                let allow = at(&format!("allow = {device}"));
                assert!(deny < allow, "{text}: {device} in {}", hardened.config);
            }
        }
        let again = harden(&hardened.config);
        assert_eq!(again.config, hardened.config, "{text}");
    };
    let both = ["lxc.cgroup2", "lxc.cgroup"];
    let newer = "lxc.cgroup2.devices.allow = c 10:200 rwm\n";
    check(newer, &both);
    check("lxc.cgroup.devices.allow = c 10:200 rwm\n", &both);
    check(&format!("lxc.cgroup2.devices.allow = a\n{newer}lxc.include = /x\n"), &both);
    check(&format!("lxc.cgroup2.devices.deny = a\n{newer}"), &both[1..]);
    // Taken back after the device was given.
    check(&format!("lxc.cgroup2.devices.deny = a\n{newer}lxc.cgroup2.devices.deny =\n"), &both);
    check(&format!("lxc.cgroup2 =\n{newer}"), &both);
    let harmless = "lxc.cgroup2.devices.allow = c 1:3 rwm\n";
    check(&format!("{harmless}{newer}"), &both);
}

/// An empty value takes back what was said before, of the keys below as well.
#[test]
fn what_is_taken_back_does_not_count() {
    let ids = "lxc.idmap = u 0 100000 65536\nlxc.idmap = g 0 100000 65536\n";
    assert!(!harden(ids).config.contains("lxc.idmap = u 0 16777216"));
    let check = |text: &str, written: &str| {
        let config = harden(text).config;
        assert!(config.lines().any(|line| line == written), "{text}: {config}");
    };
    check(&format!("{ids}lxc.idmap ="), "lxc.idmap = u 0 16777216 65536");
    check("lxc.cap.keep = chown\nlxc.cap.keep =", "lxc.cap.keep = chown net_bind_service setuid");
    for key in ["lxc.cgroup2.devices.deny", "lxc.cgroup2"] {
        let text = format!("lxc.cgroup2.devices.deny = a\n{key} =");
        check(&text, "lxc.cgroup2.devices.deny = a");
        check(&text, "lxc.cgroup2.devices.allow = c 1:3 rwm");
    }
}

#[test]
fn ids_that_root_may_not_map_are_named() {
    let check = |text: &str, list: Option<&str>, expected: &str| {
        let list = list.map(str::to_string);
        let facts = LxcFacts { subuid: list.clone(), subgid: list, ..facts() };
        let hardened = harden_lxc(text, &containers(), &facts).unwrap();
        assert_eq!(hardened.subids, expected, "{text}");
    };
    let ours = "root:16777216:65536\n";
    check("", None, "");
    check("", Some(""), ours);
    check("", Some("alice:16777216:65536\nroot:16777217:65536\nroot:16777216:65535"), ours);
    check("", Some("# x\nroot:x\nroot:16777216:65536"), "");
    check("", Some("0:16000000:6000000"), "");
    let own = "lxc.idmap = u 0 100000 65536\nlxc.idmap = g 0 200000 65536\n";
    check(own, Some("root:100000:65536"), "root:200000:65536\n");
    // The last id is the last.
    let last = "lxc.idmap = u 0 4294901759 65536\nlxc.idmap = g 0 4294901759 65536\n";
    check(last, Some("root:4294901759:65536"), "");
}

#[test]
fn the_table_of_users_is_written_anew() {
    let check = |text: &str, expected: &str| {
        let written = harden_usernet(text).unwrap().text;
        assert_eq!(written, expected);
        assert_eq!(harden_usernet(&written).unwrap().text, expected, "once more");
    };
    let out = "# Taken out by palisade harden: ";
    check("# who\nalice veth lxcbr0 10\n\n", "# who\nalice veth lxcbr0 10\n\n");
    check("@all  veth lxcbr0 5000", "@all veth lxcbr0 100\n");
    check("bob veth", &format!("{out}bob veth\n"));
    check("# who\r\n\r", "# who\n\n");
    check(
        "bob phys eth0 1\nroot veth lxcbr0 1",
        &format!("{out}bob phys eth0 1\n{out}root veth lxcbr0 1\n"),
    );
    assert_eq!(harden_usernet(&"#\n".repeat(10_001)), Err(LxcError::TooLarge));
}

#[test]
fn the_table_of_users_is_audited() {
    let check = |line: &str, expected: Option<LxcLevel>| {
        let level =
            harden_usernet(line).unwrap().findings.into_iter().map(|finding| finding.level).max();
        assert_eq!(level, expected, "{line}");
    };
    check("# user type bridge number\n\n", None);
    check("alice veth lxcbr0 10", None);
    check("alice veth lxcbr0 5000", Some(LxcLevel::Medium));
    check("alice veth lxcbr0 many", Some(LxcLevel::Low));
    check("alice phys lxcbr0 1", Some(LxcLevel::Low));
    check("@staff veth lxcbr0 2", Some(LxcLevel::Note));
    check("alice veth", Some(LxcLevel::Low));
}

/// Lines of many configurations in any order, cut and joined anywhere.
#[test]
fn hardening_again_changes_nothing() {
    let lines = [
        "lxc.idmap = u 0 100000 65536",
        "lxc.idmap = g 0 100000 65536",
        "lxc.idmap = b 0 0 1",
        "lxc.idmap =",
        "lxc.cap.keep = chown sys_admin",
        "lxc.cap.keep = none",
        "lxc.cap.drop = sys_module",
        "lxc.cap =",
        "lxc.apparmor.profile = unconfined",
        "lxc.apparmor.profile =",
        "lxc.apparmor.allow_nesting = 1",
        "lxc.seccomp.profile = /x",
        "lxc.no_new_privs = 0",
        "lxc.mount.auto = proc:rw sys cgroup-full",
        "lxc.mount.entry = / host none bind 0 0",
        "lxc.mount.entry = /srv srv none rbind,suid 0 0",
        "lxc.cgroup.devices.allow = a",
        "lxc.cgroup2.devices.deny = a",
        "lxc.cgroup2.devices.deny =",
        "lxc.cgroup.devices.allow = c 10:200 rwm",
        "lxc.cgroup2.devices.allow = c 10:229 rwm",
        "lxc.cgroup2.memory.max = max",
        "lxc.cgroup.memory.limit_in_bytes = 2G",
        "lxc.cgroup.pids.max = max",
        "lxc.cgroup2.cpu.max = max 5",
        "lxc.cgroup2 =",
        "lxc.cgroup =",
        "lxc.cgroup.pids.max = 7",
        "lxc.cgroup2.cpu.max = 1 2",
        "lxc.cgroup.cpu.cfs_quota_us = -1",
        "lxc.cgroup.cpu.cfs_period_us = 5",
        "lxc.namespace.clone = user",
        "lxc.namespace.share.pid = 1",
        "lxc.net.0.type = none",
        "lxc.net.0.type = veth",
        "lxc.net.0.link = lxcbr0",
        "lxc.net.0.hwaddr = x",
        "lxc.net.0.veth.pair = v\" accept",
        "lxc.net.0.ipv4.address = 10.0.0.1/8",
        "lxc.net =",
        "lxc.net.1.type = macvlan",
        "lxc.include = /y",
        "lxc =",
        "# a comment",
    ];
    let mut state = 7_u64;
    let mut next = |below: usize| {
        // A linear congruential generator, after Knuth.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    for _ in 0..3000 {
        let n = next(12);
        let mut text = String::new();
        for _ in 0..n {
            text.push_str(lines[next(lines.len())]);
            text.push('\n');
        }
        if next(4) == 0 && !text.is_empty() {
            let at = next(text.len());
            text.replace_range(at..=at, ["\n", "=", " ", ""][next(4)]);
        }
        let mut policy = containers();
        policy.limits.memory_bytes = Some(1 << 30);
        let Ok(first) = harden_lxc(&text, &policy, &facts()) else { continue };
        let again = harden_lxc(&first.config, &policy, &facts()).unwrap();
        assert_eq!(again.config, first.config, "{text}");
        for finding in &again.findings {
            let elsewhere = finding.message.contains("accept_ra");
            assert!(finding.level == LxcLevel::Note || elsewhere, "{finding:?}: {text}");
        }
        assert!(!first.filter.contains("accept\n    "), "{}", first.filter);
    }
}
