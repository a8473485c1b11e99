//! Containers are recognised from each engine's files.

use std::path::Path;
use std::sync::Arc;

use palisade_model::Engine;
use palisade_sensor::identity::{Facts, HostPaths, Resolver};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn resolve(root: &Path, cgroup: &str) -> Option<Arc<Facts>> {
    let mut resolver = Resolver::new(HostPaths::under(root));
    resolver.resolve(0, format!("memory={cgroup}\0cpuset=/").as_bytes(), 0, 1)
}

#[test]
fn palisades_own_records() {
    let host = tempfile::tempdir().unwrap();
    let record = r#"{"id":"web-1","name":"web","engine":"palisade","policy":"restricted",
        "image":{"reference":"demo:1.0","digest":null}}"#;
    write(host.path(), "run/palisade/containers/web-1.json", record);
    let facts = resolve(host.path(), "/palisade/web-1").unwrap();
    assert_eq!(facts.container.engine, Engine::Palisade);
    assert_eq!(facts.container.name, "web");
    assert_eq!(facts.container.policy.as_deref(), Some("restricted"));
    assert_eq!((facts.image_repository.as_str(), facts.image_tag.as_str()), ("demo", "1.0"));
    assert_eq!(facts.container.cgroup.as_deref(), Some("/palisade/web-1"));
}

#[test]
fn docker() {
    let host = tempfile::tempdir().unwrap();
    let folder = format!("var/lib/docker/containers/{ID}");
    write(
        host.path(),
        &format!("{folder}/config.v2.json"),
        r#"{"Name":"/shop","Image":"sha256:aa","State":{"Pid":77},
            "Config":{"Image":"nginx:1.27","User":"www","Labels":{"a":"b"}},
            "MountPoints":{"/data":{"Source":"/srv","Destination":"/data","RW":true,"Mode":"","Propagation":"rprivate"}},
            "NetworkSettings":{"Networks":{"bridge":{"IPAddress":"172.17.0.2"}}}}"#,
    );
    let host_config = r#"{"Privileged":true,"NetworkMode":"host"}"#;
    write(host.path(), &format!("{folder}/hostconfig.json"), host_config);
    for cgroup in [format!("/docker/{ID}"), format!("/system.slice/docker-{ID}.scope")] {
        let facts = resolve(host.path(), &cgroup).unwrap();
        assert_eq!(facts.container.engine, Engine::Docker);
        assert_eq!(facts.id, "0123456789ab");
        assert_eq!(facts.container.name, "shop");
        assert_eq!(facts.container.init_pid, Some(77));
        assert_eq!((facts.image_repository.as_str(), facts.ip.as_str()), ("nginx", "172.17.0.2"));
        assert!(facts.privileged && facts.host_network && !facts.host_pid);
        assert_eq!(facts.mounts[0].describe(), "/srv:/data::true:rprivate");
        assert_eq!(facts.label("a"), Some("b"));
    }
}

#[test]
fn podman() {
    let list = format!(
        r#"[{{"id":"{ID}","names":["box"],"image":"cc","metadata":"{{\"image-name\":\"quay.io/x/y:2\",\"name\":\"box\"}}"}}]"#
    );
    // Each driver of the store has lists of its own; containers of `--rm` are in the second.
    for file in ["overlay-containers/containers.json", "vfs-containers/volatile-containers.json"] {
        let host = tempfile::tempdir().unwrap();
        write(host.path(), &format!("var/lib/containers/storage/{file}"), &list);
        let cgroup = format!("/machine.slice/libpod-{ID}.scope/container");
        let facts = resolve(host.path(), &cgroup).unwrap();
        let container = &facts.container;
        assert_eq!((container.engine, container.name.as_str()), (Engine::Podman, "box"), "{file}");
        let image = (facts.image_repository.as_str(), facts.image_tag.as_str());
        assert_eq!(image, ("quay.io/x/y", "2"), "{file}");
    }
}

#[test]
fn containerd_and_kubernetes() {
    let host = tempfile::tempdir().unwrap();
    write(
        host.path(),
        &format!("run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json"),
        r#"{"annotations":{"io.kubernetes.cri.container-type":"container",
            "io.kubernetes.cri.container-name":"api","io.kubernetes.cri.image-name":"ghcr.io/x/api:3",
            "io.kubernetes.cri.sandbox-name":"api-0","io.kubernetes.cri.sandbox-namespace":"shop",
            "io.kubernetes.cri.sandbox-uid":"u-1","io.kubernetes.cri.sandbox-id":"feed"},
            "linux":{"namespaces":[{"type":"pid"},{"type":"ipc"}],"maskedPaths":["/proc/kcore"]},
            "mounts":[{"destination":"/x","source":"/y","type":"bind","options":["rbind","ro"]}]}"#,
    );
    let facts = resolve(host.path(), &format!("/kubepods/besteffort/pod1/{ID}")).unwrap();
    assert_eq!(facts.container.engine, Engine::Cri);
    let pod = facts.container.pod.as_ref().unwrap();
    assert_eq!(
        (pod.name.as_str(), pod.namespace.as_str(), pod.uid.as_str()),
        ("api-0", "shop", "u-1")
    );
    assert!(facts.host_network && !facts.host_pid && !facts.privileged);
    assert_eq!(facts.mounts[0].describe(), "/y:/x::false:");
    // `ctr` uses ids of any form.
    let bundle = "run/containerd/io.containerd.runtime.v2.task/default/redis/config.json";
    write(host.path(), bundle, "{}");
    let facts = resolve(host.path(), "/default/redis").unwrap();
    assert_eq!((facts.container.engine, facts.id.as_str()), (Engine::Containerd, "redis"));
}

#[test]
fn cri_o() {
    let host = tempfile::tempdir().unwrap();
    write(
        host.path(),
        &format!("run/containers/storage/overlay-containers/{ID}/userdata/config.json"),
        r#"{"annotations":{"io.kubernetes.container.name":"c","io.kubernetes.pod.name":"p",
            "io.kubernetes.pod.namespace":"n","io.kubernetes.cri-o.ImageName":"img:1"}}"#,
    );
    let facts = resolve(host.path(), &format!("/kubepods.slice/x.slice/crio-{ID}.scope")).unwrap();
    assert_eq!((facts.container.engine, facts.container.name.as_str()), (Engine::Crio, "c"));
    assert_eq!(facts.image_repository, "img");
}

#[test]
fn bare_runc() {
    let host = tempfile::tempdir().unwrap();
    let bundle = host.path().join("bundle");
    let state = format!(
        r#"{{"id":"box","init_process_pid":42,"config":{{"labels":["bundle={}"]}}}}"#,
        bundle.display()
    );
    write(host.path(), "run/runc/box/state.json", &state);
    let annotations = r#"{"annotations":{"org.opencontainers.image.ref.name":"demo:latest"}}"#;
    write(host.path(), "bundle/config.json", annotations);
    let facts = resolve(host.path(), "/box").unwrap();
    assert_eq!((facts.container.engine, facts.container.init_pid), (Engine::Runc, Some(42)));
    assert_eq!(facts.image, "demo:latest");
    assert!(resolve(host.path(), "/other").is_none(), "a folder of the host is no container");
}

#[test]
fn what_no_engine_knows_and_what_is_broken() {
    let host = tempfile::tempdir().unwrap();
    let facts = resolve(host.path(), &format!("/docker/{ID}")).unwrap();
    assert_eq!((facts.id.as_str(), facts.image.as_str()), ("0123456789ab", ""));
    write(host.path(), &format!("var/lib/docker/containers/{ID}/config.v2.json"), "{broken");
    let mut resolver = Resolver::new(HostPaths::under(host.path()));
    let cgroups = format!("memory=/docker/{ID}");
    assert!(resolver.resolve(0, cgroups.as_bytes(), 0, 1).is_some());
    assert_eq!(resolver.counters().n_unreadable, 1);
    for hostile in ["/docker/../../etc", "/palisade/../../../etc/passwd", "/palisade/..", "/"] {
        assert!(resolve(host.path(), hostile).is_none(), "{hostile}");
    }
}

#[test]
fn answers_are_remembered_and_asked_for_again() {
    let host = tempfile::tempdir().unwrap();
    let mut resolver = Resolver::new(HostPaths::under(host.path()));
    let cgroups = format!("memory=/docker/{ID}");
    let name = |resolver: &mut Resolver, now_ns| {
        resolver.resolve(9, cgroups.as_bytes(), 0, now_ns).unwrap().container.name.clone()
    };
    assert_eq!(name(&mut resolver, 1), ID);
    write(
        host.path(),
        &format!("var/lib/docker/containers/{ID}/config.v2.json"),
        r#"{"Name":"/late"}"#,
    );
    assert_eq!(name(&mut resolver, 2), ID, "not asked again at once");
    assert_eq!(name(&mut resolver, 1_000_000_000), "late");
    std::fs::remove_dir_all(host.path().join("var")).unwrap();
    assert_eq!(name(&mut resolver, 2_000_000_000), "late", "known beyond its end");
}

/// A container of ours below a version 2 tree in `root`, and the id of its group.
fn container_with_group(root: &Path, name: &str) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let record = format!(r#"{{"id":"{name}","name":"{name}","engine":"palisade"}}"#);
    write(root, &format!("run/palisade/containers/{name}.json"), &record);
    let group = root.join("sys/fs/cgroup/unified/palisade").join(name);
    std::fs::create_dir_all(&group).unwrap();
    std::fs::metadata(group).unwrap().ino()
}

#[test]
fn a_task_that_was_moved_is_found_although_its_last_exec_named_a_group_of_the_host() {
    let host = tempfile::tempdir().unwrap();
    let id = container_with_group(host.path(), "moved-1");
    let mut resolver = Resolver::new(HostPaths::under(host.path()));
    let stale = b"cpu=/user.slice\0memory=/user.slice\0unified=/user.slice";
    let facts = resolver.resolve(id, stale, 0, 1).unwrap();
    assert_eq!(facts.container.name, "moved-1");
    // And it stays found, for tasks of which nothing else is known.
    assert!(resolver.resolve(id, b"", 0, 2).is_some());
}

#[test]
fn a_group_that_no_tree_shows_is_not_the_hosts_on_the_word_of_an_older_exec() {
    let host = tempfile::tempdir().unwrap();
    let record = r#"{"id":"web-1","name":"web","engine":"palisade","policy":null,"image":null}"#;
    write(host.path(), "run/palisade/containers/web-1.json", record);
    write(host.path(), "proc/6/cgroup", "3:memory:/palisade/web-1\n0::/\n");
    // The caller of the container was in a group of the host other than the root; the second
    // has the shape of a container of `ctr`.
    for stale in [&b"memory=/user.slice\0unified=/"[..], b"memory=/builds/42\0unified=/"] {
        let mut resolver = Resolver::new(HostPaths::under(host.path()));
        // The task is gone before anybody can ask, so nothing is known, and nothing believed.
        assert!(resolver.resolve(77, stale, 5, 1).is_none());
        let facts = resolver.resolve(77, stale, 6, 2).expect("asked again at once");
        assert_eq!(facts.container.name, "web");
        // The caller's own group is the host's all the same.
        assert!(resolver.resolve(0, stale, 0, 3).is_none());
    }
}

#[test]
fn the_root_group_belongs_to_nobody() {
    let host = tempfile::tempdir().unwrap();
    container_with_group(host.path(), "early-1");
    let mut resolver = Resolver::new(HostPaths::under(host.path()));
    // The OCI runtime places a task in the version 1 hierarchies before the unified one.
    let placing = b"memory=/palisade/early-1\0unified=/";
    assert!(resolver.resolve(1, placing, 0, 1).is_some());
    assert!(resolver.resolve(1, b"memory=/\0unified=/", 0, 2).is_none());
    assert!(resolver.resolve(1, b"", 0, 3).is_none());
    // The other order: what the root group said of the host is not said of the container.
    assert!(resolver.resolve(1, placing, 0, 4).is_some());
}

#[test]
fn a_group_that_several_containers_share_names_none_of_them() {
    let host = tempfile::tempdir().unwrap();
    container_with_group(host.path(), "first-1");
    container_with_group(host.path(), "second-1");
    let mut resolver = Resolver::new(HostPaths::under(host.path()));
    let shared = 4_000_000_000;
    for name in ["first-1", "second-1", "first-1"] {
        let cgroups = format!("memory=/palisade/{name}\0unified=/system.slice/engine.service");
        let facts = resolver.resolve(shared, cgroups.as_bytes(), 0, 1).unwrap();
        assert_eq!(facts.container.name, name);
    }
}
