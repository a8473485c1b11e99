//! A day in the life of a container that does much and is attacked by nobody: no alert above
//! notice.

use std::collections::BTreeMap;

use palisade_agent::{BUILTIN_RULES, Detection};
use palisade_model::Priority;

use super::stage::{self, Kind};
use super::watcher::{Loading, Watcher, shown};
use crate::support::is_root;

/// What is done, in order. Nothing leaves the stage.
#[expect(clippy::needless_raw_string_hashes, reason = "all scripts have one form")]
#[rustfmt::skip] // a table
const DAY: &[(&str, &str)] = &[
    // A package with everything that packages bring: a program, a setuid program, a service, a
    // scheduled job, a user, a library, a login rule; its scripts look around as scripts do.
    ("package is built", r#"
        d=/opt/data/pkg; mkdir -p $d/DEBIAN $d/usr/bin $d/usr/lib $d/etc/cron.d $d/lib/systemd/system $d/etc/pam.d
        cp /bin/true $d/usr/bin/shop; cp /bin/true $d/usr/bin/shop-su
        : >$d/usr/lib/libshop.so.1; echo '* * * * * root /usr/bin/shop' >$d/etc/cron.d/shop
        echo '[Service]' >$d/lib/systemd/system/shop.service; echo 'auth required pam_unix.so' >$d/etc/pam.d/shop
        printf 'Package: shop\nVersion: 1\nArchitecture: all\nMaintainer: eg <eg@nowhere.invalid>\nDescription: shop\n' >$d/DEBIAN/control
        printf '#!/bin/sh\nset -e\nid >/dev/null; hostname >/dev/null; uname >/dev/null; df / >/dev/null; env >/dev/null; groups >/dev/null; whoami >/dev/null\ngetent passwd shop >/dev/null || useradd --system shop\nldconfig\nchmod 4755 /usr/bin/shop-su\n/usr/bin/shop\n' >$d/DEBIAN/postinst
        chmod 755 $d/DEBIAN/postinst; dpkg-deb --build $d /opt/data/shop.deb
        rm -r $d"#),
    ("package is installed", "dpkg -i /opt/data/shop.deb"),
    ("package is upgraded and removed", "dpkg -i /opt/data/shop.deb; dpkg -r shop"),
    ("program is compiled", r#"
        mkdir -p /opt/src; cd /opt/src
        for i in 1 2 3 4 5 6 7 8; do echo "int f$i(int x) { return x * $i; }" >f$i.c; done
        echo 'int f1(int); int main(void) { return f1(0); }' >main.c
        printf 'prog: main.o f1.o f2.o f3.o f4.o f5.o f6.o f7.o f8.o\n\tgcc -o $@ $^\n\t./prog\nlib: f1.c\n\tgcc -shared -fPIC -o libf.so f1.c\nclean:\n\trm -f *.o prog libf.so\n' >Makefile
        make prog; make lib; make clean"#),
    ("source is searched and archived", r#"
        cd /opt/src; grep -rn return . ; find . -name '*.c' | xargs cat | sort | uniq -c
        tar -czf /opt/data/src.tar.gz . ; mkdir -p /opt/data/unpacked; tar -xzf /opt/data/src.tar.gz -C /opt/data/unpacked"#),
    // A web server with workers under load: connections, files, temporary files, its log.
    ("web server is under load", r#"
        mkdir -p /var/www /var/log/nginx; echo hello >/var/www/index.html
        as nginx "accepts in:127.0.0.1:8080 400; openat AT_FDCWD /var/www/index.html O_RDONLY; openat AT_FDCWD /var/log/nginx/access.log O_WRONLY|O_CREAT|O_APPEND 0640; openat AT_FDCWD /tmp/nginx.body O_RDWR|O_CREAT 0600; unlinkat AT_FDCWD /tmp/nginx.body 0"
        for i in $(seq 30); do (exec 3<>/dev/tcp/127.0.0.1/8080) 2>/dev/null; done; :"#),
    ("database serves and checkpoints", r#"
        mkdir -p /var/lib/pg
        as postgres "accepts in:127.0.0.1:5432 60; openat AT_FDCWD /var/lib/pg/wal O_RDWR|O_CREAT 0600; renameat AT_FDCWD /var/lib/pg/wal AT_FDCWD /var/lib/pg/wal.1; unlinkat AT_FDCWD /var/lib/pg/wal.1 0"
        for i in $(seq 30); do (exec 3<>/dev/tcp/127.0.0.1/5432) 2>/dev/null; done; :"#),
    ("backup is made", r#"
        mkdir -p /backup /home/eg; for i in $(seq 60); do echo $i >/home/eg/$i.txt; done
        tar -cf /backup/home.tar -C / home etc/hostname; sha256sum /backup/home.tar >/backup/home.sum; cp -a /home/eg /backup/eg
        gzip /backup/home.tar; rm -r /backup/eg"#),
    // As cron runs it: small scripts with small tools, logs rotated and cleaned up.
    ("scheduled scripts run", r#"
        : >/var/log/shop.log; mkdir -p /etc/eg.daily; printf '#!/bin/sh\ndf / >/dev/null; date >>/var/log/shop.log; find /opt/data -name "*.none" -delete\n' >/etc/eg.daily/clean; chmod 755 /etc/eg.daily/clean
        as cron 'spawn /bin/sh -c "/etc/eg.daily/clean"'
        as logrotate "renameat AT_FDCWD /var/log/shop.log AT_FDCWD /var/log/shop.log.1; openat AT_FDCWD /var/log/shop.log O_WRONLY|O_CREAT 0640""#),
    ("service starts", r#"
        printf '#!/bin/sh\nset -e\nid -u >/dev/null; hostname >/dev/null; env >/dev/null\nmkdir -p /run/shop; echo $$ >/run/shop/pid; exec /bin/sh -c "sleep 0.1"\n' >/opt/data/entrypoint.sh
        chmod 755 /opt/data/entrypoint.sh; /opt/data/entrypoint.sh
        for i in 1 2 3; do as healthcheck 'socket AF_INET SOCK_STREAM 0; connect $ in:127.0.0.1:8080'; done"#),
    ("text is processed", r#"
        seq 2000 | awk '{ s += $1 } END { print s }'; perl -e 'print join(",", map { $_ * 2 } 1 .. 100)'
        sed -i s/hello/goodbye/ /var/www/index.html; sort -R /etc/hosts; diff /etc/hosts /etc/hostname || :"#),
    ("name service and metrics are asked", r#"
        for i in $(seq 20); do exec 3<>/dev/udp/127.0.0.1/53; done
        for p in 8080 5432 6379 9090 9100; do (exec 3<>/dev/tcp/127.0.0.1/$p) 2>/dev/null; done; :"#),
    ("old files are cleaned up", r#"
        mkdir -p /var/cache/eg; for i in $(seq 300); do : >/var/cache/eg/$i; done; rm -r /var/cache/eg
        for i in $(seq 200); do : >/tmp/eg-$i; done; rm /tmp/eg-*"#),
];

#[test]
fn nothing_above_notice_is_said_of_an_honest_day() {
    if !is_root() || !stage::has_compiler() {
        return;
    }
    let mut watcher = Watcher::start(&[Kind::Container], &BUILTIN_RULES, &Loading::default());
    let mut by_rule: BTreeMap<String, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (what, script) in DAY {
        let (detections, status) = watcher.act(Kind::Container, script);
        assert_eq!(status, 0, "{what} has failed");
        let (above, below): (Vec<Detection>, Vec<Detection>) =
            detections.into_iter().partition(|d| d.rule.priority > Priority::Notice);
        for detection in below {
            *by_rule.entry(detection.rule.name.clone()).or_default() += 1;
        }
        if !above.is_empty() {
            wrong.push(format!("while {what}:\n{}", shown(&above)));
        }
    }
    eprintln!("{} events; notices: {by_rule:?}", watcher.n_events());
    assert!(watcher.n_events() > 5000, "the day was too quiet to prove anything");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
