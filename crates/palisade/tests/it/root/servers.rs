//! `palisade probe` against servers as the distribution delivers them: each is found weak when it
//! is set up one way, and without a finding when it is set up the other.
//!
//! The files are unpacked from the packages once (`scripts/servers.sh`) and never installed; each
//! server gets a root of its own with what it needs.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use super::bed::Bed;
use super::probe::{copy, ids, report};

/// A server and how it is started.
struct Server {
    name: &'static str,
    /// Its files in the packages, as patterns of the shell; whole folders too.
    files: &'static str,
    /// Whether its first process is the container's root.
    is_root: bool,
    /// What `/bin/sh` runs in the container, after a setting.
    script: &'static str,
}

/// One setting of a server, and what is to be found.
struct Setting {
    variables: &'static str,
    findings: &'static [(&'static str, &'static str)],
    protocols: &'static [&'static str],
}

const POSTGRESQL: Server = Server {
    name: "postgresql",
    files: "usr/lib/postgresql/*/bin/postgres usr/lib/postgresql/*/bin/initdb usr/share/postgresql \
        usr/lib/postgresql/*/lib/dict_snowball.so usr/lib/postgresql/*/lib/plpgsql.so",
    is_root: false,
    script: r#"
echo "$PASSWORD" >/tmp/password
cd /usr/lib/postgresql/*/bin
./initdb -D /data/d -U postgres --pwfile=/tmp/password --no-sync -A "$METHOD" >/dev/null
echo "host all all all $METHOD" >>/data/d/pg_hba.conf
exec ./postgres -D /data/d -c 'listen_addresses=*' -k /tmp -c fsync=off
"#,
};

const MARIADB: Server = Server {
    name: "mariadb",
    files: "usr/sbin/mariadbd usr/share/mysql/english usr/share/mysql/charsets usr/share/mysql/*.sql",
    is_root: false,
    script: r#"
mkdir /data/d
set -- --no-defaults --datadir=/data/d --tmpdir=/tmp
{
    printf 'create database mysql;\nuse mysql;\n'
    cat /usr/share/mysql/mysql_system_tables.sql /usr/share/mysql/mysql_system_tables_data.sql
    printf 'flush privileges;\n'
    echo "create user root@'%' identified by '$PASSWORD';"
} | /usr/sbin/mariadbd "$@" --bootstrap --log-warnings=0
exec /usr/sbin/mariadbd "$@" --socket=/tmp/socket --pid-file=/tmp/pid
"#,
};

const MEMCACHED: Server = Server {
    name: "memcached",
    files: "usr/bin/memcached",
    is_root: false,
    script: r"
echo user:its-own-8fKq >/tmp/users
exec /usr/bin/memcached -l 0.0.0.0 -U 0 -m 16 $FLAGS
",
};

const MOSQUITTO: Server = Server {
    name: "mosquitto",
    files: "usr/sbin/mosquitto",
    is_root: false,
    script: r#"
printf 'listener 1883 0.0.0.0\nallow_anonymous %s\n' "$ANONYMOUS" >/tmp/conf
exec /usr/sbin/mosquitto -c /tmp/conf
"#,
};

/// The hash is of the password `root`.
const SSHD: Server = Server {
    name: "sshd",
    files: "usr/sbin/sshd usr/bin/ssh-keygen",
    is_root: true,
    script: r"
mkdir -p /run/sshd && chmod 755 /run/sshd
ssh-keygen -q -t ed25519 -N '' -f /tmp/key
echo 'root:$6$canary$e2p3RCUzzCti4TAUcDdC1q2mbKxFGvg.pXoojjYXw.AMeVj1BxurujtsARiLywibMRTYfvttNjNPaKK0Q2Hoe1:1::::::' >/etc/shadow
exec /usr/sbin/sshd -D -e -f /dev/null -p 2222 -h /tmp/key $FLAGS
",
};

const POSTFIX: Server = Server {
    name: "postfix",
    files: "usr/sbin/post* usr/lib/postfix/sbin usr/lib/postfix/libpostfix-*.so usr/share/postfix",
    is_root: true,
    script: r"
mkdir -p /var/spool/postfix /var/lib/postfix /etc/postfix && cd /var/spool/postfix
mkdir pid private public maildrop hold incoming active deferred defer bounce corrupt flush saved trace
chown postfix * . /var/lib/postfix && chown root pid
chgrp postdrop public maildrop
# No service of its own root.
sed 's/^\([a-z]\+ \+[a-z]\+ \+[-yn] \+[-yn] \+\)y /\1n /' /usr/share/postfix/master.cf.dist >/etc/postfix/master.cf
cat >/etc/postfix/main.cf <<END
compatibility_level = 3.6
maillog_file = /dev/stdout
myhostname = mail.example.com
mydestination = localhost
alias_maps =
inet_interfaces = all
inet_protocols = ipv4
mynetworks = $NETWORKS
END
exec /usr/lib/postfix/sbin/master -d
",
};

const DOVECOT: Server = Server {
    name: "dovecot",
    files: "usr/sbin/dovecot usr/bin/doveconf usr/lib/dovecot",
    is_root: false,
    script: r"
mkdir -p /tmp/d
cat >/tmp/conf <<END
base_dir = /tmp/d
state_dir = /tmp/d
log_path = /dev/stderr
protocols = imap pop3
default_internal_user = server
default_internal_group = server
default_login_user = server
mail_location = maildir:/data/m
ssl = $TLS
ssl_cert = </own.crt
ssl_key = </own.key
disable_plaintext_auth = $STRICT
passdb {
  driver = static
  args = password=its-own-8fKq
}
userdb {
  driver = static
  args = uid=65532 gid=65532 home=/data
}
service imap-login {
  chroot =
  inet_listener imap {
    port = 1143
  }
  inet_listener imaps {
    port = 0
  }
}
service pop3-login {
  chroot =
  inet_listener pop3 {
    port = 1110
  }
  inet_listener pop3s {
    port = 0
  }
}
service anvil {
  chroot =
}
END
exec /usr/sbin/dovecot -F -c /tmp/conf
",
};

const RABBITMQ: Server = Server {
    name: "rabbitmq",
    files: "usr/lib/erlang usr/bin/erl usr/lib/rabbitmq/lib",
    is_root: false,
    script: r#"
export HOME=/data RABBITMQ_MNESIA_BASE=/data/m RABBITMQ_LOG_BASE=/data/l RABBITMQ_LOGS=- RABBITMQ_PID_FILE=/data/pid
export RABBITMQ_NODENAME=r@localhost RABBITMQ_CONF_ENV_FILE=/nothing RABBITMQ_CONFIG_FILE=/data/rabbitmq.conf
export RABBITMQ_ENABLED_PLUGINS_FILE=/data/plugins
echo "loopback_users.guest = $LOOPBACK" >/data/rabbitmq.conf
exec /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server
"#,
};

const VSFTPD: Server = Server {
    name: "vsftpd",
    files: "usr/sbin/vsftpd",
    is_root: false,
    script: r"
printf '%s\n' listen=YES listen_port=2121 run_as_launching_user=YES seccomp_sandbox=NO background=NO \
    secure_chroot_dir=/data anon_root=/data $LINES >/tmp/conf
chmod 555 /data
exec /usr/sbin/vsftpd /tmp/conf
",
};

const ETCD: Server = Server {
    name: "etcd",
    files: "usr/bin/etcd",
    is_root: false,
    script: r"
exec /usr/bin/etcd --data-dir /data/d --listen-client-urls $SCHEME://0.0.0.0:2379 \
    --advertise-client-urls $SCHEME://localhost:2379 --listen-peer-urls http://127.0.0.1:2380 $FLAGS
",
};

const NGINX: Server = Server {
    name: "nginx",
    files: "usr/sbin/nginx",
    is_root: false,
    script: r"
mkdir /tmp/www && echo hello >/tmp/www/index.html
cat >/tmp/conf <<END
daemon off; pid /tmp/pid; error_log stderr; worker_processes 1;
events { worker_connections 64; }
http {
    access_log off;
    client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f;
    uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s;
    server {
        listen 8443 ssl; ssl_certificate /$PAIR.crt; ssl_certificate_key /$PAIR.key;
        $TLS
        root /tmp/www;
        $PAGE
    }
}
END
exec /usr/sbin/nginx -e stderr -c /tmp/conf
",
};

/// The unpacked packages; `None`, and said why, where they cannot be had.
fn packages() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let make = || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/servers.sh");
        // Another list of packages is another folder.
        let mut hasher = DefaultHasher::new();
        std::fs::read(&script).unwrap().hash(&mut hasher);
        let name = format!("servers-{:x}", hasher.finish());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        if folder.exists() {
            return Some(folder);
        }
        match Command::new("mmdebstrap").arg("--version").output() {
            Ok(output) if output.status.success() => {}
            _ => {
                eprintln!("skipped: no mmdebstrap, which unpacks the servers");
                return None;
            }
        }
        let made = Command::new(script).arg(&folder).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Some(folder)
    };
    FOLDER.get_or_init(make).as_deref()
}

/// Runs `script` in a shell; its output.
#[track_caller]
fn shell(folder: &Path, script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A root with the files of `server`, the libraries that they need, a shell and some users.
fn root(bed: &Bed, packages: &Path, server: &Server) -> PathBuf {
    let root = bed.path().join(server.name);
    for name in ["data", "dev", "etc", "proc", "run", "sys", "tmp", "var/spool"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    for name in ["data", "run", "tmp"] {
        std::fs::set_permissions(root.join(name), PermissionsExt::from_mode(0o1777)).unwrap();
    }
    for name in ["bin", "lib", "lib64", "sbin"] {
        std::fs::create_dir_all(root.join("usr").join(name)).unwrap();
        symlink(format!("usr/{name}"), root.join(name)).unwrap();
    }
    copy(Path::new("/bin/busybox"), &root.join("bin/busybox"));
    for name in shell(&root, "/bin/busybox --list").split_whitespace() {
        if !root.join("bin").join(name).exists() {
            symlink("busybox", root.join("bin").join(name)).unwrap();
        }
    }
    let users =
        [("server", 65532), ("sshd", 101), ("ftp", 102), ("postfix", 103), ("postdrop", 104)];
    let (mut passwd, mut group) =
        ("root:x:0:0:root:/:/bin/sh\n".to_string(), "root:x:0:\n".to_string());
    for (name, id) in users {
        let _ = writeln!(passwd, "{name}:x:{id}:{id}:{name}:/data:/bin/sh");
        let _ = writeln!(group, "{name}:x:{id}:");
    }
    passwd.push_str("nobody:x:65534:65534:nobody:/:/bin/false\n");
    group.push_str("nogroup:x:65534:\n");
    for (name, text) in [
        ("passwd", passwd.as_str()),
        ("group", &group),
        ("nsswitch.conf", "hosts: files\n"),
        ("hosts", "127.0.0.1 localhost\n"),
    ] {
        std::fs::write(root.join("etc").join(name), text).unwrap();
    }
    // What the loader would load, as it says itself within the packages' own root.
    let target = root.display();
    let files = server.files;
    shell(
        packages,
        &format!(
            "cp -a --parents {files} {target}
            find -L {files} -type f \\( -perm -100 -o -name '*.so*' \\) |
                while read -r file; do
                    chroot . /lib64/ld-linux-x86-64.so.2 --list /$file 2>/dev/null || true
                done | grep -oE '/[^ ]+\\.so[^ ]*' | sort -u |
                while read -r file; do
                    mkdir -p {target}/$(dirname $file)
                    cp -L --remove-destination .$file {target}$file
                done"
        ),
    );
    certificates(&root);
    root
}

/// A pair of key and certificate that is weak in all ways, and one that is not.
fn certificates(root: &Path) {
    shell(
        root,
        "openssl req -x509 -nodes -days 1 -newkey rsa:1024 -sha1 -subj /CN=weak -keyout weak.key -out weak.crt
        openssl req -x509 -nodes -days 9 -newkey rsa:2048 -subj /CN=authority -keyout authority.key -out authority.crt
        openssl req -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=own -keyout own.key -out own.csr
        openssl x509 -req -in own.csr -CA authority.crt -CAkey authority.key -days 8 -out own.crt
        chmod 644 *.key",
    );
}

/// Probes `server` in each of its settings.
#[track_caller]
fn check(server: &Server, settings: &[Setting]) {
    let Some(bed) = Bed::new() else { return };
    let Some(packages) = packages() else { return };
    let first = server.files.split_whitespace().next().unwrap();
    if shell(packages, &format!("ls -d {first} 2>/dev/null || true")).is_empty() {
        eprintln!("skipped: this release has no {}", server.name);
        return;
    }
    let root = root(&bed, packages, server);
    let mut policy = bed.run(&["policy", "show", "baseline"]).expect(0).stdout;
    policy = policy.replace("verify: warn", "verify: off");
    if !server.is_root {
        policy = policy.replace("user: image ", "user: fallback\n  fallback_user: 65532 ");
        assert!(policy.contains("fallback_user"), "{policy}");
    }
    std::fs::write(bed.path().join("policy.yaml"), policy).unwrap();
    let target = format!("dir:{}", root.display());
    for setting in settings {
        let script = format!("{}\n{}", setting.variables, server.script);
        let flags = ["--no-attempts", "--requests", "0", "--policy", "policy.yaml", &target];
        let code = i32::from(setting.findings.iter().any(|(check, _)| {
            let check = palisade_probe::CHECKS.iter().find(|known| known.id == *check).unwrap();
            check.severity >= palisade_model::Severity::High
        }));
        let report = report(&bed, code, &[&flags[..], &["--", "/bin/sh", "-c", &script]].concat());
        expect(server.name, setting, &report);
    }
}

#[track_caller]
fn expect(name: &str, setting: &Setting, report: &Value) {
    let variables = setting.variables;
    let mut expected: Vec<&str> = setting.findings.iter().map(|(check, _)| *check).collect();
    let mut found = ids(report);
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected, "{name}, {variables}: {report:#}");
    for (check, detail) in setting.findings {
        let mut of_it = report["findings"].as_array().unwrap().iter();
        let is_told = of_it.any(|finding| {
            finding["check"] == *check && finding["detail"].as_str().unwrap().contains(detail)
        });
        assert!(is_told, "{name}, {variables}: {check}: {detail}: {report:#}");
    }
    let ports = report["ports"].as_array().unwrap();
    for protocol in setting.protocols {
        assert!(ports.iter().any(|port| port["protocol"] == *protocol), "{name}: {report:#}");
    }
}

#[test]
fn postgresql() {
    let protocols = &["postgresql"][..];
    check(
        &POSTGRESQL,
        &[
            Setting {
                variables: "METHOD=trust PASSWORD=its-own-8fKq",
                findings: &[("no-authentication", "without a password (trust)")],
                protocols,
            },
            Setting {
                variables: "METHOD=scram-sha-256 PASSWORD=mysecretpassword",
                findings: &[(
                    "default-credentials",
                    "user `postgres`, password `mysecretpassword`",
                )],
                protocols,
            },
            Setting {
                variables: "METHOD=md5 PASSWORD=postgres",
                findings: &[("default-credentials", "password `postgres`")],
                protocols,
            },
            Setting {
                variables: "METHOD=scram-sha-256 PASSWORD=its-own-8fKq",
                findings: &[],
                protocols,
            },
        ],
    );
}

#[test]
fn mariadb() {
    let protocols = &["mysql"][..];
    check(
        &MARIADB,
        &[
            Setting {
                variables: "PASSWORD=",
                findings: &[("default-credentials", "user `root`, no password")],
                protocols,
            },
            Setting { variables: "PASSWORD=its-own-8fKq", findings: &[], protocols },
        ],
    );
}

#[test]
fn memcached() {
    let protocols = &["memcached"][..];
    check(
        &MEMCACHED,
        &[
            Setting {
                variables: "FLAGS=",
                findings: &[("no-authentication", "`stats`")],
                protocols,
            },
            Setting { variables: "FLAGS='-Y /tmp/users'", findings: &[], protocols },
        ],
    );
}

#[test]
fn mosquitto() {
    let protocols = &["mqtt"][..];
    check(
        &MOSQUITTO,
        &[
            Setting {
                variables: "ANONYMOUS=true",
                findings: &[("no-authentication", "without a name and password")],
                protocols,
            },
            Setting { variables: "ANONYMOUS=false", findings: &[], protocols },
        ],
    );
}

#[test]
fn openssh() {
    let protocols = &["ssh"][..];
    check(
        &SSHD,
        &[
            Setting {
                variables: "FLAGS='-o KexAlgorithms=+diffie-hellman-group1-sha1 -o Ciphers=+3des-cbc \
                    -o MACs=+hmac-md5 -o PermitRootLogin=yes'",
                findings: &[
                    ("ssh-weak-algorithms", "diffie-hellman-group1-sha1, 3des-cbc, hmac-md5"),
                    ("ssh-password-login", "publickey, password"),
                    ("default-credentials", "user `root`, password `root`"),
                ],
                protocols,
            },
            Setting {
                variables: "FLAGS='-o PasswordAuthentication=no -o KbdInteractiveAuthentication=no'",
                findings: &[],
                protocols,
            },
        ],
    );
}

#[test]
fn postfix() {
    let protocols = &["smtp"][..];
    check(
        &POSTFIX,
        &[
            Setting {
                variables: "NETWORKS=0.0.0.0/0",
                findings: &[("open-relay", "from example.org to example.net")],
                protocols,
            },
            Setting { variables: "NETWORKS=127.0.0.0/8", findings: &[], protocols },
        ],
    );
}

#[test]
fn dovecot() {
    let protocols = &["imap", "pop3"][..];
    check(
        &DOVECOT,
        &[
            Setting {
                variables: "TLS=no STRICT=no",
                findings: &[("plaintext-login", "`STLS`"), ("plaintext-login", "`LOGINDISABLED`")],
                protocols,
            },
            Setting { variables: "TLS=required STRICT=yes", findings: &[], protocols },
        ],
    );
}

#[test]
fn rabbitmq() {
    const MAPPER: (&str, &str) = ("open-information", "port mapper");
    let protocols = &["amqp", "epmd"][..];
    check(
        &RABBITMQ,
        &[
            Setting {
                variables: "LOOPBACK=false",
                findings: &[("default-credentials", "user `guest`, password `guest`"), MAPPER],
                protocols,
            },
            // As it is delivered: `guest` comes from loopback alone.
            Setting { variables: "LOOPBACK=true", findings: &[MAPPER], protocols },
        ],
    );
}

#[test]
fn vsftpd() {
    let protocols = &["ftp"][..];
    check(
        &VSFTPD,
        &[
            Setting {
                variables: "LINES=anonymous_enable=YES",
                findings: &[
                    ("anonymous-login", "user `anonymous` is let in"),
                    ("plaintext-login", "`AUTH TLS`"),
                ],
                protocols,
            },
            Setting {
                variables: "LINES='anonymous_enable=NO local_enable=YES ssl_enable=YES \
                    rsa_cert_file=/own.crt rsa_private_key_file=/own.key'",
                findings: &[],
                protocols,
            },
        ],
    );
}

#[test]
fn etcd() {
    check(
        &ETCD,
        &[
            Setting {
                variables: "SCHEME=http FLAGS=",
                findings: &[("no-authentication", "etcd: `POST /v3/kv/range`")],
                protocols: &["http"],
            },
            // Who connects must show a certificate.
            Setting {
                variables: "SCHEME=https FLAGS='--cert-file /own.crt --key-file /own.key \
                    --client-cert-auth --trusted-ca-file /authority.crt'",
                findings: &[],
                protocols: &["unknown"],
            },
        ],
    );
}

#[test]
fn nginx() {
    let protocols = &["http"][..];
    check(
        &NGINX,
        &[
            Setting {
                variables: "PAIR=weak PAGE='location /nginx_status { stub_status; }' \
                    TLS='ssl_protocols TLSv1 TLSv1.1 TLSv1.2; ssl_ciphers ALL:aNULL:eNULL:@SECLEVEL=0;'",
                findings: &[
                    ("tls-1.0", "TLS 1.0"),
                    ("tls-1.1", "TLS 1.1"),
                    ("tls-null-cipher", "_NULL_"),
                    ("tls-anonymous", "_anon_"),
                    ("tls-no-forward-secrecy", "TLS_RSA_"),
                    ("tls-certificate-weak-key", "1024 bits"),
                    ("tls-certificate-weak-signature", "SHA-1"),
                    ("tls-certificate-self-signed", "its issuer"),
                    ("open-information", "`GET /nginx_status`"),
                ],
                protocols,
            },
            Setting {
                variables: "PAIR=own PAGE= TLS='ssl_protocols TLSv1.2 TLSv1.3; ssl_ciphers ECDHE+AESGCM;'",
                findings: &[],
                protocols,
            },
        ],
    );
}
