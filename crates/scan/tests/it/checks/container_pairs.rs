//! Containers of every platform, bad and good.

use super::{Pair, pair};

/// A pod whose container begins at 6:5; what follows stands in line 8 and after.
macro_rules! pod {
    ($rest:literal) => {
        concat!(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: c\n    image: x@sha256:00\n",
            $rest
        )
    };
}

/// A pod with settings of its own before the container; they stand in line 5.
macro_rules! shared {
    ($own:literal) => {
        concat!(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  ",
            $own,
            "\n  containers:\n  - name: c\n    image: x@sha256:00\n"
        )
    };
}

/// A service at 2:3 whose settings stand in line 4 and after.
macro_rules! service {
    ($rest:literal) => {
        concat!("services:\n  web:\n    image: x@sha256:00\n", $rest)
    };
}

pub(super) fn pairs() -> Vec<Pair> {
    let mut all = Vec::new();
    kubernetes(&mut |check, bad, at, good| all.push(pair(check, "k.yaml", bad, at, good)));
    compose(&mut |check, bad, at, good| all.push(pair(check, "compose.yaml", bad, at, good)));
    others(&mut |check, name, bad, at, good| all.push(pair(check, name, bad, at, good)));
    all
}

type Places = &'static [(u64, u64)];

fn kubernetes(add: &mut dyn FnMut(&'static str, &'static str, Places, &'static str)) {
    let here: Places = &[(6, 5)];
    add(
        "probe-of-host",
        pod!(
            "    livenessProbe: {httpGet: {host: 169.254.169.254}}\n    lifecycle: {preStop: {tcpSocket: {host: b}}}\n"
        ),
        &[(8, 37), (9, 45)],
        pod!("    livenessProbe: {httpGet: {port: 80, host: ''}}\n"),
    );
    add(
        "volume-kind",
        shared!("volumes: [{name: v, nfs: {server: a}}]"),
        &[(5, 23)],
        shared!("volumes: [{name: v, emptyDir: {}}, {name: w, csi: {}}]"),
    );
    add(
        "capabilities-kept",
        pod!("    securityContext: {capabilities: {drop: [ALL], add: [CHOWN]}}\n"),
        &[(8, 57)],
        pod!("    securityContext: {capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}\n"),
    );
    add(
        "host-path-mounted",
        shared!("volumes: [{name: v, hostPath: {path: /etc}}]"),
        &[(5, 40)],
        shared!("volumes: [{name: v, emptyDir: {}}]"),
    );
    add(
        "proc-unmasked",
        pod!("    securityContext: {procMount: Unmasked}\n  hostUsers: true\n"),
        &[(8, 34)],
        pod!("    securityContext: {procMount: Default}\n  hostUsers: false\n"),
    );
    add(
        "privilege-escalation",
        pod!("  os: {name: linux}\n"),
        here,
        pod!("  os: {name: windows}\n"),
    );
    add(
        "privileged",
        pod!("    securityContext: {privileged: true}\n"),
        &[(8, 35)],
        pod!("    securityContext: {privileged: false}\n"),
    );
    add(
        "engine-socket-mounted",
        pod!(
            "    volumeMounts: [{name: v, mountPath: /s}]\n  volumes:\n  - name: v\n    hostPath:\n      path: /var/run/docker.sock\n"
        ),
        &[(12, 13)],
        pod!(
            "    volumeMounts: [{name: v, mountPath: /var/run/docker.sock}]\n  volumes: [{name: v, emptyDir: {}}]\n"
        ),
    );
    add("host-pid", shared!("hostPID: true"), &[(5, 12)], shared!("hostPID: false"));
    add("host-ipc", shared!("hostIPC: true"), &[(5, 12)], shared!("hostIPC: false"));
    add("host-network", shared!("hostNetwork: true"), &[(5, 16)], shared!("hostNetwork: false"));
    add(
        "capability-added",
        pod!(
            "    securityContext:\n      capabilities: {add: [CAP_SYS_ADMIN, SYS_TIME, NET_BIND_SERVICE]}\n"
        ),
        &[(9, 28), (9, 43)],
        pod!("    securityContext: {capabilities: {add: [CHOWN]}}\n"),
    );
    add(
        "net-raw-kept",
        pod!("    securityContext: {capabilities: {drop: [CHOWN]}}\n"),
        here,
        pod!("    securityContext: {capabilities: {drop: [NET_RAW]}}\n"),
    );
    add(
        "capability-added",
        pod!("    securityContext: {capabilities: {drop: [ALL], add: [NET_RAW]}}\n"),
        &[(8, 57)],
        pod!("    securityContext: {capabilities: {drop: [all]}}\n"),
    );
    add(
        "capabilities-kept",
        pod!("    securityContext: {capabilities: {drop: [NET_RAW]}}\n"),
        &[(8, 45)],
        pod!("    securityContext: {capabilities: {drop: [ALL]}}\n"),
    );
    add(
        "privilege-escalation",
        pod!("    securityContext: {allowPrivilegeEscalation: true}\n"),
        &[(8, 49)],
        pod!("    securityContext: {allowPrivilegeEscalation: false}\n"),
    );
    add(
        "privilege-escalation",
        pod!(""),
        here,
        pod!("    securityContext: {allowPrivilegeEscalation: no}\n"),
    );
    add(
        "seccomp-unconfined",
        pod!("    securityContext: {seccompProfile: {type: Unconfined}}\n"),
        &[(8, 46)],
        pod!("    securityContext: {seccompProfile: {type: RuntimeDefault}}\n"),
    );
    add(
        "seccomp-not-set",
        pod!(""),
        here,
        shared!("securityContext: {seccompProfile: {type: Localhost, localhostProfile: a}}"),
    );
    add(
        "mandatory-access-off",
        pod!(
            "    securityContext: {appArmorProfile: {type: Unconfined}, seLinuxOptions: {type: spc_t}}\n"
        ),
        &[(8, 47), (8, 83)],
        pod!(
            "    securityContext: {appArmorProfile: {type: RuntimeDefault}, seLinuxOptions: {type: container_t}}\n"
        ),
    );
    add(
        "mandatory-access-off",
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations:\n    container.apparmor.security.beta.kubernetes.io/c: unconfined\nspec:\n  containers: [{name: c}]\n",
        &[(6, 55)],
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations:\n    container.apparmor.security.beta.kubernetes.io/c: runtime/default\nspec:\n  containers: [{name: c}]\n",
    );
    add(
        "writable-root",
        pod!(""),
        here,
        pod!("    securityContext: {readOnlyRootFilesystem: true}\n"),
    );
    add(
        "host-path-mounted",
        pod!(
            "    volumeMounts: [{name: v, mountPath: /s, readOnly: true}, {name: w, mountPath: /w}]\n  volumes:\n  - {name: v, hostPath: {path: /etc}}\n  - {name: w, hostPath: {path: /opt/data}}\n"
        ),
        &[(10, 32), (11, 32)],
        pod!(
            "    volumeMounts: [{name: v, mountPath: /s, readOnly: true}]\n  volumes:\n  - {name: v, hostPath: {path: /etc/localtime}}\n"
        ),
    );
    add(
        "shared-propagation",
        pod!(
            "    volumeMounts:\n    - {name: v, mountPath: /s, mountPropagation: Bidirectional}\n"
        ),
        &[(9, 50)],
        pod!("    volumeMounts: [{name: v, mountPath: /s, mountPropagation: HostToContainer}]\n"),
    );
    add("runs-as-root", pod!(""), here, pod!("    securityContext: {runAsNonRoot: true}\n"));
    add(
        "runs-as-root",
        pod!("    securityContext: {runAsUser: 0, runAsNonRoot: true}\n"),
        &[(8, 34)],
        shared!("securityContext: {runAsUser: 10001}"),
    );
    add(
        "runs-as-root",
        shared!("securityContext: {runAsNonRoot: false}"),
        &[(5, 35)],
        shared!("hostUsers: false"),
    );
    add(
        "low-user-id",
        pod!("    securityContext: {runAsUser: 1000, runAsGroup: 0}\n"),
        &[(8, 34), (8, 52)],
        pod!("    securityContext: {runAsUser: 10000, runAsGroup: 10000}\n"),
    );
    add(
        "low-user-id",
        shared!("securityContext: {supplementalGroups: [0, 5]}"),
        &[(5, 42)],
        shared!("securityContext: {fsGroup: 2000}"),
    );
    add(
        "unsafe-sysctl",
        shared!("securityContext: {sysctls: [{name: kernel.msgmax, value: '1'}]}"),
        &[(5, 31)],
        shared!("securityContext: {sysctls: [{name: net/ipv4/tcp_syncookies, value: '1'}]}"),
    );
    add(
        "proc-unmasked",
        pod!("    securityContext: {procMount: Unmasked}\n"),
        &[(8, 34)],
        pod!("    securityContext: {procMount: Default}\n"),
    );
    add(
        "host-process",
        pod!("    securityContext: {windowsOptions: {hostProcess: true}}\n"),
        &[(8, 53)],
        pod!("    securityContext: {windowsOptions: {hostProcess: false}}\n"),
    );
    add("host-users", pod!(""), &[(5, 3)], shared!("hostUsers: false"));
    add(
        "no-memory-limit",
        pod!("    resources: {requests: {memory: 1Gi}}\n"),
        here,
        pod!("    resources: {limits: {memory: 1Gi}}\n"),
    );
    add("no-cpu-limit", pod!(""), here, pod!("    resources: {requests: {cpu: 1}}\n"));
    add(
        "host-port",
        pod!("    ports: [{containerPort: 80, hostPort: 8080}]\n"),
        &[(8, 43)],
        pod!("    ports: [{containerPort: 80}]\n"),
    );
    add(
        "image-mutable",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - image: nginx\n  - image: nginx:latest\n  - image: nginx:1\n",
        &[(6, 12), (7, 12), (8, 12)],
        pod!(""),
    );
    add(
        "image-registry",
        pod!(""),
        &[(7, 12)],
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers: [{image: 'ghcr.io/ours/x:1'}]\n",
    );
    add(
        "no-probe",
        pod!("    livenessProbe: {exec: {}}\n"),
        here,
        pod!("    livenessProbe: {exec: {}}\n    readinessProbe: {exec: {}}\n"),
    );
    add(
        "no-probe",
        pod!(""),
        here,
        "apiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\nspec:\n  template:\n    spec:\n      containers: [{name: c}]\n      initContainers: [{name: d}]\n",
    );
    add(
        "secret-in-workload",
        pod!(
            "    env:\n    - {name: DB_PASSWORD, value: hunter22}\n    - name: T\n      valueFrom: {secretKeyRef: {name: s, key: k}}\n    envFrom: [{secretRef: {name: s2}}]\n"
        ),
        &[(9, 34), (11, 40), (12, 34)],
        pod!(
            "    env:\n    - {name: DB_PASSWORD_FILE, value: /run/secrets/x}\n    - {name: A, valueFrom: {configMapKeyRef: {name: s, key: k}}}\n    - {name: TOKEN, value: $(OTHER)}\n"
        ),
    );
}

fn compose(add: &mut dyn FnMut(&'static str, &'static str, Places, &'static str)) {
    let here: Places = &[(2, 3)];
    add(
        "privileged",
        service!("    privileged: true\n"),
        &[(4, 17)],
        service!("    privileged: false\n"),
    );
    add(
        "privileged",
        "x: &x\n  privileged: true\nservices:\n  web:\n    <<: *x\n    image: a\n",
        &[(2, 15)],
        "x: &x\n  privileged: true\nservices:\n  web:\n    <<: *x\n    privileged: false\n    image: a\n",
    );
    add(
        "engine-socket-mounted",
        service!("    volumes:\n    - /var/run/docker.sock:/s:ro\n"),
        &[(5, 7)],
        service!("    volumes: [docker.sock:/s]\n"),
    );
    add(
        "engine-socket-mounted",
        service!(
            "    volumes:\n    - type: bind\n      source: /run/podman/podman.sock\n      target: /s\n"
        ),
        &[(6, 15)],
        service!("    volumes: [{type: volume, source: a, target: /s}]\n"),
    );
    add("host-pid", service!("    pid: host\n"), &[(4, 10)], service!("    pid: 'service:b'\n"));
    add("host-ipc", service!("    ipc: host\n"), &[(4, 10)], service!("    ipc: private\n"));
    add(
        "host-network",
        service!("    network_mode: host\n"),
        &[(4, 19)],
        service!("    network_mode: bridge\n"),
    );
    add(
        "host-namespaces",
        service!("    uts: host\n    userns_mode: host\n    cgroup: host\n"),
        &[(4, 10), (5, 18), (6, 13)],
        service!("    cgroup: private\n"),
    );
    add(
        "capability-added",
        service!("    cap_add: [NET_ADMIN]\n"),
        &[(4, 15)],
        service!("    cap_add: [CHOWN]\n    cap_drop: [ALL]\n"),
    );
    add("net-raw-kept", service!(""), here, service!("    cap_drop: [NET_RAW]\n"));
    add(
        "privilege-escalation",
        service!(""),
        here,
        service!("    security_opt: ['no-new-privileges:true']\n"),
    );
    add(
        "privilege-escalation",
        service!("    security_opt: ['no-new-privileges:false']\n"),
        &[(4, 20)],
        service!("    security_opt: [no-new-privileges]\n"),
    );
    add(
        "seccomp-unconfined",
        service!("    security_opt: ['seccomp=unconfined']\n"),
        &[(4, 20)],
        service!("    security_opt: ['seccomp:./profile.json']\n"),
    );
    add(
        "mandatory-access-off",
        service!("    security_opt: ['apparmor:unconfined', 'label:disable']\n"),
        &[(4, 20), (4, 43)],
        service!("    security_opt: ['label:type:container_t']\n"),
    );
    add(
        "proc-unmasked",
        service!("    security_opt: ['systempaths=unconfined']\n"),
        &[(4, 20)],
        service!("    security_opt: ['seccomp=unconfined']\n"),
    );
    add("writable-root", service!(""), here, service!("    read_only: true\n"));
    add(
        "host-path-mounted",
        service!("    volumes: ['/etc:/e', '/:/h:ro']\n"),
        &[(4, 15), (4, 26)],
        service!(
            "    volumes: ['./etc:/etc', 'data:/root', '/srv/x:/x', '/etc/localtime:/etc/localtime:ro']\n"
        ),
    );
    add(
        "shared-propagation",
        service!("    volumes: ['/srv/a:/a:rw,rshared']\n"),
        &[(4, 15)],
        service!("    volumes: ['/srv/a:/a:rslave']\n"),
    );
    add(
        "device-exposed",
        service!("    devices: ['/dev/sda:/dev/sda']\n"),
        &[(4, 15)],
        service!("    devices: []\n"),
    );
    add("runs-as-root", service!("    user: '0:0'\n"), &[(4, 11)], service!("    user: '1000'\n"));
    add("runs-as-root", service!("    user: root\n"), &[(4, 11)], service!("    user: ${U}\n"));
    add(
        "unsafe-sysctl",
        service!("    sysctls:\n      kernel.msgmax: 1\n"),
        &[(5, 22)],
        service!("    sysctls: [net.ipv4.tcp_syncookies=1]\n"),
    );
    add(
        "no-memory-limit",
        service!("    mem_limit: 0\n"),
        &[(4, 16)],
        service!("    deploy: {resources: {limits: {memory: 1G}}}\n"),
    );
    add("no-cpu-limit", service!(""), here, service!("    cpus: 0.5\n"));
    add(
        "no-pids-limit",
        service!("    pids_limit: -1\n"),
        &[(4, 17)],
        service!("    pids_limit: 100\n"),
    );
    add(
        "port-on-all-interfaces",
        service!(
            "    ports: ['8080:80', '443', '0.0.0.0:1:2', {target: 80, published: '80'}, '[::]:1:2']\n"
        ),
        &[(4, 13), (4, 24), (4, 31), (4, 46), (4, 77)],
        service!(
            "    ports: ['127.0.0.1:8080:80', '[::1]:90:90', {target: 80, published: 80, host_ip: 10.0.0.1}]\n"
        ),
    );
    add(
        "host-port",
        service!("    ports: ['127.0.0.1:80:80']\n"),
        &[(4, 13)],
        service!("    ports: ['127.0.0.1:8080:80/tcp']\n"),
    );
    add(
        "image-mutable",
        "services:\n  a: {image: nginx}\n  b: {image: 'nginx:${T:-latest}'}\n",
        &[(2, 14), (3, 14)],
        "services:\n  a: {image: nginx, build: .}\n  b: {image: 'nginx:${T}'}\n",
    );
    add(
        "secret-in-workload",
        service!("    environment:\n      POSTGRES_PASSWORD: hunter22\n"),
        &[(5, 26)],
        service!(
            "    environment: ['POSTGRES_PASSWORD_FILE=/run/secrets/x', 'TOKEN=${T}', PASSWORD]\n"
        ),
    );
}

type AddNamed<'a> =
    &'a mut dyn FnMut(&'static str, &'static str, &'static str, Places, &'static str);

const ECS_OK: &str = r#"{"family": "f", "networkMode": "awsvpc", "containerDefinitions": [{"name": "a", "image": "x@sha256:00",
 "user": "1000", "readonlyRootFilesystem": true, "memory": 10, "cpu": 1, "dockerSecurityOptions": ["no-new-privileges"],
 "linuxParameters": {"capabilities": {"drop": ["ALL"]}}, "portMappings": [{"containerPort": 80}],
 "secrets": [{"name": "DB_PASSWORD", "valueFrom": "arn:x"}]}]}"#;
const ECS_BAD: &str = r#"{
	"networkMode": "host", "pidMode": "host", "ipcMode": "host",
	"volumes": [{"name": "v", "host": {"sourcePath": "/var/run/docker.sock"}}],
	"containerDefinitions": [
		{"name": "a", "image": "nginx", "privileged": true, "user": "root",
			"environment": [{"name": "DB_PASSWORD", "value": "hunter22"}],
			"linuxParameters": {"capabilities": {"add": ["SYS_PTRACE"]}, "devices": [{"hostPath": "/dev/sda"}]},
			"mountPoints": [{"sourceVolume": "v", "containerPath": "/s"}]}
	]
}"#;

const SPEC_OK: &str = r#"{"ociVersion": "1.0.2", "process": {"user": {"uid": 1000, "gid": 0}, "noNewPrivileges": true,
 "capabilities": {"bounding": ["CAP_NET_BIND_SERVICE"]}, "env": ["PATH=/bin"]},
 "root": {"path": "r", "readonly": true},
 "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}, {"destination": "/etc/hosts", "source": "/var/lib/docker/containers/x/hosts", "options": ["rbind", "ro"]}],
 "linux": {"namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "network"}, {"type": "uts"}, {"type": "mount"}],
 "seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}, "maskedPaths": ["/proc/kcore"],
 "resources": {"memory": {"limit": 1000}, "cpu": {"quota": 100}, "pids": {"limit": 10}}}}"#;
const SPEC_BAD: &str = r#"{
  "ociVersion": "1.0.2",
  "process": {
    "user": {"uid": 0},
    "capabilities": {"bounding": ["CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_NET_RAW",
      "CAP_SYS_ADMIN"]},
    "env": ["DB_PASSWORD=hunter22"]
  },
  "mounts": [{"destination": "/h", "source": "/etc", "options": ["rbind", "rshared"]}],
  "linux": {
    "namespaces": [{"type": "mount"}],
    "resources": {"devices": [{"allow": true, "access": "rwm"}]},
    "devices": [{"path": "/dev/sda"}],
    "sysctl": {"kernel.msgmax": "1"}
  }
}"#;

const ENGINE_OK: &str = r#"[{"Name": "/web", "Config": {"User": "1000", "Env": ["PATH=/bin"]}, "HostConfig": {
 "Privileged": false, "ReadonlyRootfs": true, "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"],
 "Memory": 1000, "NanoCpus": 100, "PidsLimit": 10, "Binds": ["data:/data"], "MaskedPaths": ["/proc/kcore"],
 "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}}}]"#;
const ENGINE_BAD: &str = r#"[{
  "Name": "/web",
  "Config": {"User": "", "Env": ["DB_PASSWORD=hunter22"]},
  "HostConfig": {
    "Privileged": true, "PidMode": "host", "IpcMode": "host", "NetworkMode": "host", "UTSMode": "host",
    "CapAdd": ["CAP_SYS_ADMIN"], "SecurityOpt": ["seccomp=unconfined"],
    "Memory": 0, "PidsLimit": null, "MaskedPaths": [],
    "Binds": ["/var/run/docker.sock:/s", "/etc:/e:ro"],
    "Devices": [{"PathOnHost": "/dev/sda"}],
    "Sysctls": {"kernel.msgmax": "1"},
    "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "80"}]}
  }
}]"#;

const SCC_OK: &str = "apiVersion: security.openshift.io/v1\nkind: SecurityContextConstraints\nmetadata: {name: restricted}\nallowPrivilegedContainer: false\nallowPrivilegeEscalation: false\nreadOnlyRootFilesystem: true\nrequiredDropCapabilities: [ALL]\nrunAsUser: {type: MustRunAsRange}\nseLinuxContext: {type: MustRunAs}\nseccompProfiles: [runtime/default]\nvolumes: [configMap, secret]\n";
const SCC_BAD: &str = "apiVersion: security.openshift.io/v1\nkind: SecurityContextConstraints\nmetadata: {name: a}\nallowPrivilegedContainer: true\nallowHostPID: true\nallowHostPorts: true\nallowHostDirVolumePlugin: true\nallowedCapabilities: ['*']\nrunAsUser: {type: RunAsAny}\nseLinuxContext: {type: RunAsAny}\nseccompProfiles: ['*']\n";

fn others(add: AddNamed<'_>) {
    let ecs: [(&str, Places); 12] = [
        ("host-network", &[(2, 17)]),
        ("host-pid", &[(2, 36)]),
        ("host-ipc", &[(2, 55)]),
        ("engine-socket-mounted", &[(3, 51)]),
        ("image-mutable", &[(5, 26)]),
        ("privileged", &[(5, 49)]),
        ("runs-as-root", &[(5, 63)]),
        ("secret-in-workload", &[(6, 53)]),
        ("capability-added", &[(7, 49)]),
        ("device-exposed", &[(7, 77)]),
        ("no-memory-limit", &[(5, 3)]),
        ("writable-root", &[(5, 3)]),
    ];
    for (check, at) in ecs {
        add(check, "task.json", ECS_BAD, at, ECS_OK);
    }
    let spec: [(&str, Places); 18] = [
        ("runs-as-root", &[(4, 21)]),
        ("privileged", &[(12, 31)]),
        ("seccomp-unconfined", &[(3, 14)]),
        ("privilege-escalation", &[(3, 14)]),
        ("writable-root", &[(3, 14)]),
        ("capability-added", &[(6, 7)]),
        ("net-raw-kept", &[(3, 14)]),
        ("capabilities-kept", &[(5, 34)]),
        ("secret-in-workload", &[(7, 13)]),
        ("host-path-mounted", &[(9, 46)]),
        ("shared-propagation", &[(9, 46)]),
        ("host-pid", &[(11, 19)]),
        ("host-network", &[(11, 19)]),
        ("host-namespaces", &[(11, 19)]),
        ("device-exposed", &[(13, 17)]),
        ("unsafe-sysctl", &[(14, 16)]),
        ("proc-unmasked", &[(10, 12)]),
        ("no-pids-limit", &[(3, 14)]),
    ];
    for (check, at) in spec {
        add(check, "config.json", SPEC_BAD, at, SPEC_OK);
    }
    let engine: [(&str, Places); 19] = [
        ("runs-as-root", &[(3, 22)]),
        ("secret-in-workload", &[(3, 34)]),
        ("privileged", &[(5, 19)]),
        ("host-pid", &[(5, 36)]),
        ("host-ipc", &[(5, 55)]),
        ("host-network", &[(5, 78)]),
        ("host-namespaces", &[(5, 97)]),
        ("capability-added", &[(6, 16)]),
        ("seccomp-unconfined", &[(6, 50)]),
        ("no-memory-limit", &[(7, 15)]),
        ("no-pids-limit", &[(4, 17)]),
        ("proc-unmasked", &[(7, 52)]),
        ("engine-socket-mounted", &[(8, 15)]),
        ("host-path-mounted", &[(8, 42)]),
        ("device-exposed", &[(9, 17)]),
        ("unsafe-sysctl", &[(10, 17)]),
        ("port-on-all-interfaces", &[(11, 33)]),
        ("host-port", &[(11, 33)]),
        ("writable-root", &[(4, 17)]),
    ];
    for (check, at) in engine {
        add(check, "inspect.json", ENGINE_BAD, at, ENGINE_OK);
    }
    let scc: [(&str, Places); 10] = [
        ("privileged", &[(4, 27)]),
        ("host-pid", &[(5, 15)]),
        ("host-port", &[(6, 17)]),
        ("host-path-mounted", &[(7, 27)]),
        ("capability-added", &[(8, 23)]),
        ("runs-as-root", &[(9, 19)]),
        ("mandatory-access-off", &[(10, 24)]),
        ("seccomp-unconfined", &[(11, 19)]),
        ("capabilities-kept", &[(1, 1)]),
        ("privilege-escalation", &[(1, 1)]),
    ];
    for (check, at) in scc {
        add(check, "scc.yaml", SCC_BAD, at, SCC_OK);
    }
}
