use std::os::unix::fs::symlink;

use super::*;

/// A machine in a folder.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new(files: &[(&str, &str)]) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        for (path, text) in files {
            machine.write(path, text);
        }
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn installer(&self, policy: Option<&str>) -> Installer {
        Installer::new(Options {
            root: self.0.path().into(),
            program: "/usr/local/bin/palisade".into(),
            record: "/var/lib/palisade/install.json".into(),
            policy: policy.map(str::to_string),
            units: true,
            authz: true,
        })
        .unwrap()
    }

    fn install(&self, engine: Engine) -> Plan {
        let installer = self.installer(None);
        let plan = installer.plan(engine).unwrap();
        installer.apply(&plan).unwrap();
        plan
    }

    fn uninstall(&self, engine: Engine) -> Plan {
        let installer = self.installer(None);
        let plan = installer.plan_undo(engine).unwrap();
        installer.apply(&plan).unwrap();
        plan
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.0.path().join(path)).unwrap()
    }

    /// Every path below the root, folders included, with content.
    fn all(&self) -> Vec<(PathBuf, String)> {
        let mut out = Vec::new();
        let mut folders = vec![self.0.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_symlink() {
                    out.push((path.clone(), format!("{:?}", std::fs::read_link(&path).unwrap())));
                } else if path.is_dir() {
                    out.push((path.clone(), String::new()));
                    folders.push(path);
                } else {
                    out.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
                }
            }
        }
        out.sort();
        out
    }
}

const DAEMON: &str = "{\n    \"log-driver\": \"journald\",\n    \"runtimes\": {\"gpu\": {\"path\": \"/g\"}},\n    \"default-runtime\": \"gpu\"\n}\n";
const CONTAINERD: &str = "# the node's own\nversion = 2\n\n[plugins]\n  [plugins.\"io.containerd.grpc.v1.cri\"]\n    [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n      runtime_type = \"io.containerd.runc.v2\"\n      [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\n        SystemdCgroup = true # kubelet's\n";

#[test]
fn what_is_installed_is_undone_byte_for_byte() {
    for engine in Engine::ALL {
        for files in [
            &[][..],
            &[
                ("etc/docker/daemon.json", DAEMON),
                ("etc/containerd/config.toml", CONTAINERD),
                ("etc/palisade/runtime.json", "{\"policy\":\"restricted\"}"),
                ("etc/containers/containers.conf", "[engine]\nruntime = \"crun\"\n"),
            ],
        ] {
            let machine = Machine::new(files);
            let before = machine.all();
            let plan = machine.install(engine);
            assert!(!plan.steps.is_empty());
            let installed = machine.all();
            assert_eq!(machine.install(engine).steps, [], "twice is as once");
            assert_eq!(machine.all(), installed);
            machine.uninstall(engine);
            assert_eq!(machine.all(), before, "{engine}");
            assert_eq!(machine.uninstall(engine).steps, []);
        }
    }
}

#[test]
fn planning_writes_nothing_and_shows_the_difference() {
    let machine = Machine::new(&[("etc/docker/daemon.json", DAEMON)]);
    let before = machine.all();
    let plan = machine.installer(Some("restricted")).plan(Engine::Docker).unwrap();
    assert_eq!(machine.all(), before);
    let diff: String = plan.steps.iter().map(Step::diff).collect();
    for line in [
        "-    \"default-runtime\": \"gpu\"",
        "+    \"default-runtime\": \"palisade\",",
        "+    \"authorization-plugins\": [",
        "+ExecStart=/usr/local/bin/palisade authz",
        "+  \"policy\": \"restricted\"",
        "+link to /usr/local/bin/palisade",
    ] {
        assert!(diff.contains(line), "`{line}` is not in\n{diff}");
    }
    assert!(plan.notes.iter().any(|note| note.contains("gpu")), "{:?}", plan.notes);
}

#[test]
fn the_users_settings_stay() {
    let machine = Machine::new(&[
        ("etc/docker/daemon.json", DAEMON),
        ("etc/containerd/config.toml", CONTAINERD),
    ]);
    machine.install(Engine::Docker);
    let value: Value = serde_json::from_str(&machine.read("etc/docker/daemon.json")).unwrap();
    assert_eq!(value["log-driver"], "journald");
    assert_eq!(value["runtimes"]["gpu"]["path"], "/g");
    assert_eq!(value["runtimes"][NAME]["path"], format!("{LINKS}/palisade-runtime"));
    machine.install(Engine::Containerd);
    let text = machine.read("etc/containerd/config.toml");
    assert!(text.starts_with("# the node's own\n") && text.contains("# kubelet's"), "{text}");
    let document: toml_edit::DocumentMut = text.parse().unwrap();
    let containerd = &document["plugins"]["io.containerd.grpc.v1.cri"]["containerd"];
    assert_eq!(containerd["default_runtime_name"].as_str(), Some(NAME));
    let options = &containerd["runtimes"][NAME]["options"];
    assert_eq!(options["SystemdCgroup"].as_bool(), Some(true), "as the handler before");
    assert!(options["BinaryName"].as_str().unwrap().ends_with("/palisade-runtime"));
}

#[test]
fn what_somebody_changed_since_stays_changed() {
    let machine = Machine::new(&[
        ("etc/docker/daemon.json", DAEMON),
        ("etc/containerd/config.toml", CONTAINERD),
    ]);
    machine.install(Engine::Docker);
    machine.install(Engine::Containerd);
    let text = machine.read("etc/docker/daemon.json").replace("journald", "local");
    machine.write("etc/docker/daemon.json", &text);
    let text = machine.read("etc/containerd/config.toml");
    machine.write("etc/containerd/config.toml", &format!("{text}\n[debug]\nlevel = \"info\"\n"));
    machine.write("etc/palisade/runtime.json", "{\"policy\": \"mine\"}");
    let plan = machine.uninstall(Engine::Docker);
    assert!(plan.notes.iter().any(|note| note.contains("daemon.json")), "{:?}", plan.notes);
    let value: Value = serde_json::from_str(&machine.read("etc/docker/daemon.json")).unwrap();
    let expected = DAEMON.replace("journald", "local");
    assert_eq!(value, serde_json::from_str::<Value>(&expected).unwrap());
    // containerd still needs what both use.
    assert!(machine.0.path().join("usr/local/lib/palisade/engines/runc").is_symlink());
    machine.uninstall(Engine::Containerd);
    let text = machine.read("etc/containerd/config.toml");
    assert!(!text.contains(NAME) && text.contains("level = \"info\""), "{text}");
    assert!(text.starts_with(CONTAINERD.trim_end()), "{text}");
    assert_eq!(machine.read("etc/palisade/runtime.json.palisade-saved"), "{\"policy\": \"mine\"}");
    assert!(!machine.0.path().join("etc/palisade/runtime.json").exists());
}

#[test]
fn podman_keeps_the_runtime_that_it_had() {
    let check = |files: &[(&str, &str)], expected: &str| {
        let machine = Machine::new(files);
        machine.install(Engine::Podman);
        let text = machine.read("etc/containers/containers.conf.d/palisade.conf");
        let line = format!("palisade = [\"/usr/local/lib/palisade/engines/{expected}\"]");
        assert!(text.contains(&line), "{line} is not in {text}");
    };
    let crun = ("usr/bin/crun", "");
    let named = |name: &str| format!("[engine]\nruntime = \"{name}\"\n");
    check(&[], "palisade-runtime");
    check(&[crun], "crun");
    check(&[crun, ("etc/containers/containers.conf", &named("runc"))], "palisade-runtime");
    check(&[crun, ("etc/containers/containers.conf", "[engine]\n# runtime = \"runc\"\n")], "crun");
    let users = ("root/.config/containers/containers.conf", named("crun"));
    let own = named("runc");
    check(&[(users.0, &users.1), ("etc/containers/containers.conf", &own)], "crun");
}

#[test]
fn settings_that_are_wrong_and_links_change_nothing() {
    let check = |path: &str, text: &str, engine: Engine, expected: &str| {
        let machine = Machine::new(&[(path, text)]);
        let before = machine.all();
        let error = machine.installer(None).plan(engine).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.hint().is_some());
        assert_eq!(machine.all(), before);
    };
    let json = "etc/docker/daemon.json";
    check(json, "{\"a\": }", Engine::Docker, "line 1 column");
    check(json, "[]", Engine::Docker, "no object");
    check(json, "{\"runtimes\": []}", Engine::Docker, "`runtimes`");
    check(json, "{\"authorization-plugins\": 1}", Engine::Docker, "`authorization-plugins`");
    let toml = "etc/containerd/config.toml";
    check(toml, "version = 2\n[plugins\n", Engine::Containerd, "line 2");
    check(toml, "version = 2\nplugins = 1\n", Engine::Containerd, "`plugins` is no table");
    let large = " ".repeat(FILE_BYTES_MAX as usize + 1);
    check(json, &large, Engine::Docker, "read `/etc/docker/daemon.json`");

    let machine = Machine::new(&[("elsewhere", "{}"), ("etc/docker/x", "")]);
    symlink(machine.0.path().join("elsewhere"), machine.0.path().join(json)).unwrap();
    assert!(matches!(machine.installer(None).plan(Engine::Docker), Err(InstallError::Link { .. })));
    // A folder that leads out of the root is not gone through.
    let outside = tempfile::tempdir().unwrap();
    let machine = Machine::new(&[("etc/x", "")]);
    symlink(outside.path(), machine.0.path().join("etc/containers")).unwrap();
    assert!(matches!(machine.installer(None).plan(Engine::Podman), Err(InstallError::Link { .. })));
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn a_file_that_changes_meanwhile_is_not_overwritten() {
    let machine = Machine::new(&[("etc/docker/daemon.json", DAEMON)]);
    let installer = machine.installer(None);
    let plan = installer.plan(Engine::Docker).unwrap();
    machine.write("etc/docker/daemon.json", "{}");
    assert!(matches!(installer.apply(&plan), Err(InstallError::Raced { .. })));
    assert_eq!(machine.read("etc/docker/daemon.json"), "{}");
}

#[test]
fn versions_of_containerds_settings_have_their_own_tables() {
    for (version, plugin) in [
        ("", "cri"),
        ("version = 2\n", "io.containerd.grpc.v1.cri"),
        ("version = 3\n", "io.containerd.cri.v1.runtime"),
    ] {
        let machine = Machine::new(&[("etc/containerd/config.toml", version)]);
        machine.install(Engine::Containerd);
        let document: toml_edit::DocumentMut =
            machine.read("etc/containerd/config.toml").parse().unwrap();
        let name = &document["plugins"][plugin]["containerd"]["default_runtime_name"];
        assert_eq!(name.as_str(), Some(NAME), "{version}");
    }
}

#[test]
fn what_was_written_in_part_is_undone() {
    for n_written in 0..9 {
        let machine = Machine::new(&[("etc/docker/daemon.json", "{\"debug\":true}")]);
        let before = machine.all();
        let installer = machine.installer(None);
        let mut plan = installer.plan(Engine::Docker).unwrap();
        // As after a crash between two files.
        plan.steps.truncate(n_written);
        installer.apply(&plan).unwrap();
        let undo = machine.uninstall(Engine::Docker);
        assert_eq!(undo.notes, Vec::<String>::new(), "{n_written}");
        assert_eq!(machine.all(), before, "{n_written}");
    }
}
