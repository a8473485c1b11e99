use base64::engine::general_purpose::STANDARD;

use serde_json::Value;

use super::*;

/// The plugin with a policy of its own.
struct Plugin {
    _folder: tempfile::TempDir,
    authorizer: Authorizer,
}

impl Plugin {
    fn new(policy: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.yaml");
        std::fs::write(&file, policy).unwrap();
        let settings = folder.path().join("runtime.json");
        std::fs::write(&settings, json!({ "policy": file }).to_string()).unwrap();
        let authorizer = Authorizer { settings, runtimes: vec!["gpu".into()] };
        Self { _folder: folder, authorizer }
    }

    fn baseline() -> Self {
        Self::new("version: 1\nname: test\n")
    }

    fn post(&self, uri: &str, body: &str) -> Result<(), String> {
        let body = Some(STANDARD.encode(body));
        let request = Request { method: "POST".into(), uri: uri.into(), body, user: String::new() };
        self.authorizer.decide(&request)
    }

    #[track_caller]
    fn allows(&self, uri: &str, body: &str) {
        assert_eq!(self.post(uri, body), Ok(()), "{uri} {body}");
    }

    #[track_caller]
    fn refuses(&self, uri: &str, body: &str, what: &str) {
        let refused = self.post(uri, body);
        let message = refused.expect_err(&format!("{uri} {body}"));
        assert!(message.starts_with("palisade: ") && message.contains(what), "{message}");
    }
}

const CREATE: &str = "/v1.41/containers/create";

/// As `docker run -v /srv/data:/d -p 80:80 box` asks, shortened.
const ORDINARY: &str = r#"{"Hostname":"","Image":"box","Cmd":["sh"],"Labels":{"a":"1","A":"2"},
    "ExposedPorts":{"80/tcp":{}},"HostConfig":{"Binds":["/srv/data:/d","named:/n"],
    "NetworkMode":"default","PidMode":"","IpcMode":"","UTSMode":"","UsernsMode":"",
    "CgroupnsMode":"","Runtime":"","Privileged":false,"CapAdd":null,"CapDrop":["ALL"],
    "Devices":[],"DeviceRequests":null,"DeviceCgroupRules":null,"SecurityOpt":null,
    "MaskedPaths":null,"ReadonlyPaths":null,"OomKillDisable":false,"OomScoreAdj":0,"Annotations":{"com.example.a":"b"},
    "PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"80"}]},"CgroupParent":"",
    "Mounts":[{"Type":"volume","Source":"v","Target":"/v"},{"Type":"tmpfs","Target":"/t"}]}}"#;

#[test]
fn ordinary_calls_pass() {
    let plugin = Plugin::baseline();
    plugin.allows(CREATE, ORDINARY);
    plugin.allows(CREATE, r#"{"Image":"box","HostConfig":{"Runtime":"palisade"}}"#);
    plugin.allows(CREATE, r#"{"Image":"box","HostConfig":{"Runtime":"gpu"}}"#);
    plugin.allows("/v1.41/containers/x/exec", r#"{"Cmd":["sh"],"Privileged":false}"#);
    plugin.allows("/v1.41/containers/x/start", "");
    plugin.allows("/v1.41/volumes/create", r#"{"Name":"v"}"#);
    let nfs = r#"{"DriverOpts":{"type":"nfs","o":"addr=10.0.0.1,rw","device":":/export"}}"#;
    plugin.allows("/v1.41/volumes/create", nfs);
    plugin.allows("/v1.41/build?t=x", "");
    plugin.allows("/v1.41/images/create?fromImage=x", "");
    let get = Request { method: "GET".into(), uri: CREATE.into(), ..Request::default() };
    assert_eq!(plugin.authorizer.decide(&get), Ok(()));
}

#[test]
fn every_way_to_the_host_is_refused() {
    let plugin = Plugin::baseline();
    for (host, what) in [
        (r#""Privileged":true"#, "privileged mode"),
        (r#""Runtime":"runc""#, "another OCI runtime"),
        (r#""Runtime":"io.containerd.runc.v2""#, "another OCI runtime"),
        (r#""CapAdd":["sys_admin"]"#, "SYS_ADMIN"),
        (r#""CapAdd":["CAP_NET_ADMIN"]"#, "NET_ADMIN"),
        (r#""CapAdd":["ALL"]"#, "SYS_MODULE"),
        (r#""CapAdd":"ALL""#, "SYS_MODULE"),
        (r#""NetworkMode":"host""#, "network namespace"),
        (r#""PidMode":"host""#, "pid namespace"),
        (r#""IpcMode":"host""#, "ipc namespace"),
        (r#""UTSMode":"host""#, "uts namespace"),
        (r#""CgroupnsMode":"host""#, "cgroup namespace"),
        (r#""UsernsMode":"host""#, "user namespace"),
        (r#""CgroupParent":"/""#, "control group"),
        (r#""Binds":["/:/h"]"#, "of the host was asked for"),
        (r#""Binds":["/etc/../etc/shadow:/x:ro"]"#, "of the host was asked for"),
        (r#""Binds":["/run/docker.sock:/s"]"#, "root on the host"),
        (r#""Binds":["/srv:/s:rshared"]"#, "spread to the host"),
        (r#""Mounts":[{"Type":"bind","Source":"/root","Target":"/r"}]"#, "of the host was asked"),
        (
            r#""Mounts":[{"Type":"bind","Source":"/srv","Target":"/r",
                "BindOptions":{"Propagation":"shared"}}]"#,
            "spread to the host",
        ),
        (
            r#""Mounts":[{"Type":"volume","Target":"/r","VolumeOptions":{"DriverConfig":
                {"Name":"local","Options":{"type":"none","o":"bind","device":"/"}}}}]"#,
            "`/` of the host",
        ),
        (r#""Devices":[{"PathOnHost":"/dev/sda","PathInContainer":"/dev/null"}]"#, "/dev/sda"),
        (r#""DeviceCgroupRules":["a *:* rwm"]"#, "rights to devices"),
        (r#""DeviceRequests":[{"Count":-1}]"#, "--gpus"),
        (r#""Sysctls":{"kernel.core_pattern":"|/x"}"#, "kernel.core_pattern"),
        (r#""SecurityOpt":["seccomp=unconfined"]"#, "system-call filter"),
        (r#""SecurityOpt":["seccomp:unconfined"]"#, "system-call filter"),
        (r#""SecurityOpt":["apparmor=unconfined"]"#, "AppArmor"),
        (r#""SecurityOpt":["apparmor=unconfined "]"#, "AppArmor"),
        (r#""SecurityOpt":["apparmor:\tunconfined"]"#, "AppArmor"),
        (r#""SecurityOpt":["apparmor=unconfined//&unconfined"]"#, "AppArmor"),
        (r#""SecurityOpt":["apparmor=:root:unconfined"]"#, "AppArmor"),
        (r#""SecurityOpt":["apparmor=&unconfined"]"#, "AppArmor"),
        (r#""SecurityOpt":["label=disable"]"#, "SELinux"),
        (r#""SecurityOpt":["no-new-privileges=false"]"#, "setuid"),
        (r#""MaskedPaths":[]"#, "engines hide"),
        (r#""ReadonlyPaths":[]"#, "engines hide"),
        (r#""OomKillDisable":true"#, "memory is short"),
        (r#""OomScoreAdj":-1000"#, "memory is short"),
        (r#""Annotations":{"io.kubernetes.cri.container-type":"sandbox"}"#, "of Kubernetes"),
        (r#""Annotations":{"run.oci.seccomp_bpf_data":"x"}"#, "`run.oci.seccomp_bpf_data`"),
        (r#""Annotations":{"org.systemd.property.DevicePolicy":"x"}"#, "DevicePolicy"),
    ] {
        plugin.refuses(CREATE, &format!(r#"{{"Image":"b","HostConfig":{{{host}}}}}"#), what);
        // Docker still reads the host's part from the top of the body.
        plugin.refuses(CREATE, &format!(r#"{{"Image":"b",{host}}}"#), what);
    }
    let calls = [
        ("/v1.41/containers/x/exec", r#"{"Privileged":true}"#, "privileged mode"),
        ("/v1.23/containers/x/start", "{}", "1.24"),
        ("/v1.41/plugins/pull?remote=x/y", "[]", "a plugin of the engine"),
        ("/v1.41/plugins/x/y/enable", "{}", "a plugin of the engine"),
        ("/v1.41/services/create", r#"{"TaskTemplate":{"Runtime":"plugin"}}"#, "a plugin"),
        (
            "/v1.41/services/create",
            r#"{"TaskTemplate":{"Networks":[{"Target":"host"}]}}"#,
            "network",
        ),
        (
            "/v1.41/services/x/update",
            r#"{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"bind","Source":"/etc",
                "Target":"/e"}]}}}"#,
            "`/etc` of the host",
        ),
        ("/v1.41/build?networkmode=host", "", "network namespace"),
        ("/v1.41/build?cgroupparent=x", "", "control group"),
        (
            "/v1.41/volumes/create",
            r#"{"DriverOpts":{"type":"none","o":"bind","device":"/"}}"#,
            "`/`",
        ),
        (
            "/v1.41/volumes/create",
            r#"{"DriverOpts":{"type":"proc","device":"proc"}}"#,
            "type `proc`",
        ),
        (
            "/v1.41/volumes/create",
            r#"{"DriverOpts":{"type":"ext4","device":"/dev/vda1"}}"#,
            "/dev/vda1",
        ),
        (
            "/v1.41/volumes/create",
            r#"{"DriverOpts":{"type":"overlay","device":"o","o":"lowerdir=/"}}"#,
            "overlay",
        ),
        ("/v1.41/containers/x/update", r#"{"PidsLimit":0}"#, "PidsLimit"),
        ("/v1.41/containers/x/update", r#"{"PidsLimit":-1}"#, "PidsLimit"),
    ];
    for (uri, body, what) in calls {
        plugin.refuses(uri, body, what);
    }
}

#[test]
fn what_go_reads_otherwise_is_refused() {
    let plugin = Plugin::baseline();
    for (body, what) in [
        // Any case is taken for the name.
        (r#"{"hostconfig":{"privileged":true}}"#, "privileged mode"),
        ("{\"Ho\u{17f}tConfig\":{\"Privileged\":true}}", "privileged mode"),
        // Of two the last wins, or both do.
        (r#"{"HostConfig":{"Privileged":true},"HostConfig":{}}"#, "stands twice"),
        (r#"{"HostConfig":{},"hostConfig":{"Privileged":true}}"#, "stands twice"),
        (r#"{"HostConfig":{"Privileged":"yes"}}"#, "truth value"),
        (r#"{"HostConfig":[]}"#, "no object"),
        (r#"{"HostConfig":{"Binds":{}}}"#, "list"),
        ("{} {\"HostConfig\":{\"Privileged\":true}}", "trailing"),
        ("[]", "no object"),
        ("{", "EOF"),
        ("", "without its body"),
    ] {
        plugin.refuses(CREATE, body, what);
    }
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    plugin.refuses(CREATE, &deep, "recursion");
    let missing = Request { method: "POST".into(), uri: CREATE.into(), ..Request::default() };
    assert!(plugin.authorizer.decide(&missing).unwrap_err().contains("without its body"));
    let body = Some("not base64!".to_string());
    let broken = Request { method: "POST".into(), uri: CREATE.into(), body, user: String::new() };
    assert!(plugin.authorizer.decide(&broken).is_err());
    plugin.refuses("/v1.41/%63ontainers/create", r#"{"Privileged":true}"#, "privileged mode");
}

#[test]
fn the_policy_decides_what_is_allowed() {
    let exception = "version: 1\nname: test\nengines:\n  exceptions:\n  - images: [\"agent:*\"]\n    allow: [host-pid, \"capability:SYS_PTRACE\", seccomp]\n    reason: monitoring\n    expires: \"2099-01-01\"\n";
    let plugin = Plugin::new(exception);
    let asks = r#""HostConfig":{"PidMode":"host","CapAdd":["SYS_PTRACE"],"SecurityOpt":["seccomp=unconfined"]}"#;
    plugin.allows(CREATE, &format!(r#"{{"Image":"agent:1",{asks}}}"#));
    plugin.refuses(CREATE, &format!(r#"{{"Image":"other",{asks}}}"#), "SYS_PTRACE");
    let report = "version: 1\nname: test\nengines: {mode: report}\n";
    let plugin = Plugin::new(report);
    plugin.allows(CREATE, r#"{"HostConfig":{"Privileged":true}}"#);
    plugin.refuses(CREATE, r#"{"HostConfig":{"Runtime":"runc"}}"#, "another OCI runtime");
    let taken = "version: 1\nname: test\nengines: {asked: remove}\n";
    Plugin::new(taken).allows(CREATE, r#"{"HostConfig":{"Privileged":true}}"#);
    let built = "version: 1\nname: test\nengines: {builds: refuse}\n";
    Plugin::new(built).refuses("/v1.41/build", "", "no images be built");
}

#[test]
fn ports_and_restarts_are_the_policys_business() {
    let with = |keys: &str| Plugin::new(&format!("version: 1\nname: test\nengines: {{{keys}}}\n"));
    let create = |host: &str| format!(r#"{{"Image":"b","HostConfig":{{{host}}}}}"#);
    let port = |address: &str, number: &str| {
        let binding = format!(r#"{{"HostIp":"{address}","HostPort":"{number}"}}"#);
        create(&format!(r#""PortBindings":{{"80/tcp":[{binding}]}}"#))
    };
    let addressed = with("published_ports: addressed");
    for (address, number) in
        [("127.0.0.1", "8080"), ("192.0.2.1", "1024-1030"), ("::1", "8080"), ("127.0.0.1", "")]
    {
        addressed.allows(CREATE, &port(address, number));
        with("published_ports: none").refuses(CREATE, &port(address, number), "published_ports");
    }
    for (address, number) in [
        ("", "8080"),
        ("0.0.0.0", "8080"),
        ("::", "8080"),
        ("::ffff:0.0.0.0", "8080"),
        ("::ffff:0:0", "8080"),
        ("127.0.0.1", "80"),
        ("127.0.0.1", "1000-2000"),
        ("127.0.0.1", "http"),
        ("localhost", "8080"),
    ] {
        addressed.refuses(CREATE, &port(address, number), "published_ports");
        Plugin::baseline().allows(CREATE, &port(address, number));
        with("published_ports: addressed, mode: report").allows(CREATE, &port(address, number));
    }
    addressed.refuses(CREATE, &create(r#""PublishAllPorts":true"#), "--publish-all");
    let service = r#"{"EndpointSpec":{"Ports":[{"TargetPort":80}]},"TaskTemplate":{}}"#;
    addressed.refuses("/v1.41/services/create", service, "of a service");
    addressed.refuses(CREATE, &create(r#""PortBindings":[1]"#), "not as Docker's API has it");

    let restart = |name: &str, most: u32| {
        format!(r#""RestartPolicy":{{"Name":"{name}","MaximumRetryCount":{most}}}"#)
    };
    let bounded = with("restarts: bounded");
    for (restarts, is_allowed) in [
        (r#"{"Condition":"none"}"#, true),
        (r#"{"Condition":"on-failure","MaxAttempts":1}"#, true),
        (r#"{"Condition":"on-failure","MaxAttempts":5}"#, true),
        (r#"{"Condition":"on-failure","MaxAttempts":6}"#, false),
        (r#"{"Condition":"on-failure","MaxAttempts":0}"#, false),
        (r#"{"Condition":"on-failure"}"#, false),
        (r#"{"Condition":"any","MaxAttempts":1}"#, false),
        (r#"{"MaxAttempts":1}"#, false),
        ("{}", false),
        ("null", false),
    ] {
        let body = format!(r#"{{"TaskTemplate":{{"RestartPolicy":{restarts}}}}}"#);
        for uri in ["/v1.41/services/create", "/v1.41/services/x/update"] {
            Plugin::baseline().allows(uri, &body);
            with("restarts: bounded, mode: report").allows(uri, &body);
            if is_allowed {
                bounded.allows(uri, &body);
            } else {
                bounded.refuses(uri, &body, "restarts of a service");
            }
        }
    }
    bounded.refuses("/v1.41/services/create", r#"{"TaskTemplate":{}}"#, "of a service");
    for (name, most, is_allowed) in [
        ("", 0, true),
        ("no", 0, true),
        ("on-failure", 5, true),
        ("on-failure", 6, false),
        ("on-failure", 0, false),
        ("always", 0, false),
        ("unless-stopped", 3, false),
    ] {
        let asked = restart(name, most);
        Plugin::baseline().allows(CREATE, &create(&asked));
        for (uri, body) in
            [(CREATE, create(&asked)), ("/v1.41/containers/x/update", format!("{{{asked}}}"))]
        {
            if is_allowed {
                bounded.allows(uri, &body);
            } else {
                bounded.refuses(uri, &body, "restarts");
            }
        }
    }
}

#[test]
fn limits_of_what_runs_are_not_raised_above_the_policys() {
    let limits = "version: 1\nname: test\ncontainers: {limits: {memory: 8Mi, cpu: 0.5}}\n";
    let (plugin, none) = (Plugin::new(limits), Plugin::baseline());
    let uri = "/v1.41/containers/x/update";
    for body in [
        "{}",
        r#"{"CpuQuota":0,"CpuPeriod":0,"MemorySwap":0,"Memory":0}"#,
        r#"{"CpuQuota":50000,"CpuPeriod":100000}"#,
        r#"{"CpuQuota":500,"CpuPeriod":1000}"#,
        r#"{"Memory":8388608,"MemorySwap":8388608}"#,
        r#"{"NanoCpus":500000000}"#,
    ] {
        plugin.allows(uri, body);
        none.allows(uri, body);
    }
    for (body, what) in [
        (r#"{"CpuPeriod":1000}"#, "changed alone"),
        (r#"{"CpuQuota":1000}"#, "changed alone"),
        (r#"{"CpuQuota":-1}"#, "changed alone"),
        (r#"{"CpuQuota":50001,"CpuPeriod":100000}"#, "CpuQuota"),
        (r#"{"CpuQuota":1000,"CpuPeriod":1000}"#, "CpuQuota"),
        (r#"{"CpuQuota":-1,"CpuPeriod":100000}"#, "CpuQuota"),
        (r#"{"CpuQuota":-2,"CpuPeriod":-1}"#, "CpuQuota"),
        (r#"{"MemorySwap":-1}"#, "MemorySwap"),
        (r#"{"Memory":1048576,"MemorySwap":8388609}"#, "MemorySwap"),
        (r#"{"Memory":8388609}"#, "`Memory`"),
        (r#"{"NanoCpus":500000001}"#, "NanoCpus"),
    ] {
        plugin.refuses(uri, body, what);
        none.allows(uri, body);
    }
}

#[test]
fn a_policy_that_cannot_be_read_starts_nothing() {
    let plugin = Plugin::new("rubbish: [");
    plugin.refuses(CREATE, ORDINARY, "palisade: ");
    plugin.allows("/v1.41/containers/x/stop", "");
    plugin.allows("/v1.41/containers/x/kill", "");
}

#[test]
fn the_socket_answers_as_docker_asks() {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicBool, Ordering};

    let Plugin { _folder: folder, authorizer } = Plugin::baseline();
    let socket = folder.path().join("plugins/test.sock");
    let server = Server::bind(&socket, authorizer).unwrap();
    let stop = AtomicBool::new(false);
    let ask = |path: &str, body: &Value| -> Value {
        let mut stream = UnixStream::connect(&socket).unwrap();
        let body = body.to_string();
        let length = body.len();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    std::thread::scope(|scope| {
        scope.spawn(|| server.run(&stop).unwrap());
        assert_eq!(ask("/Plugin.Activate", &json!({})), json!({"Implements": ["authz"]}));
        // The names are Docker's, `RequestUri` included.
        let question = |body: &str| {
            json!({"User": "", "RequestMethod": "POST", "RequestUri": CREATE,
                "RequestBody": STANDARD.encode(body), "RequestHeaders": {"A": "b"}})
        };
        let question_of = |body| ask("/AuthZPlugin.AuthZReq", &question(body));
        assert_eq!(question_of("{}"), json!({ "Allow": true }));
        let refused = question_of(r#"{"HostConfig":{"Privileged":true}}"#);
        assert_eq!(refused["Allow"], json!(false));
        assert!(refused["Msg"].as_str().unwrap().contains("privileged mode"));
        // A question that is not understood is never allowed.
        for broken in [json!({}), json!({"RequestMethod": "POST"}), json!([])] {
            assert_eq!(ask("/AuthZPlugin.AuthZReq", &broken)["Allow"], json!(false), "{broken}");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(!socket.exists());
}
