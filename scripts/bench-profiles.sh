#!/usr/bin/env bash
# Tailored profiles of five services: recorded, compared with what Docker's default allows (docker-calls.tsv, both
# versions) or with another profile, and verified under enforcement.
# usage: scripts/bench-profiles.sh [--against SECCOMP_JSON] [--palisade PROGRAM] [--dir DIR] [SERVICE…]
#
# The services are Debian's packages in one image of mmdebstrap's making. Each is recorded while it is driven: requests,
# a reload, a crash of a process, a shutdown; then it runs under its profile in log mode and under enforcement, driven
# the same way. Clients run outside the container, in its network namespace, so that they are in no record.
# Needs root, runc, mmdebstrap, nsenter, redis-cli, psql and python3. Writes to DIR alone.
set -euo pipefail

against=
program=target/release/palisade
dir=/tmp/palisade-profiles
services=()
while [ $# -gt 0 ]; do
    case $1 in
    --against) against=$2; shift 2 ;;
    --palisade) program=$2; shift 2 ;;
    --dir) dir=$2; shift 2 ;;
    -*) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    *) services+=("$1"); shift ;;
    esac
done
[ ${#services[@]} -gt 0 ] || services=(nginx redis postgresql python node)
mkdir -p "$dir"
program=$(realpath "$program")
dir=$(realpath "$dir")
here=$(cd "$(dirname "$0")" && pwd)
references=()
if [ -n "$against" ]; then
    references=("$(realpath "$against")")
else
    # The lists as profiles, which is what can be compared.
    for version in 20.10 28; do
        awk -F'\t' -v version="$version" '!/^#/ && (" " $2 " ") ~ (" " version " ") {
                names = names (names == "" ? "" : ",") "\"" $1 "\"" }
            END { printf "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"architectures\":[\"SCMP_ARCH_X86_64\"],\"syscalls\":[{\"names\":[%s],\"action\":\"SCMP_ACT_ALLOW\"}]}\n", names }' \
            "$here/docker-calls.tsv" >"$dir/docker-$version.json"
        references+=("$dir/docker-$version.json")
    done
fi
palisade() { "$program" --quiet --data-dir "$dir/data" --run-dir "$dir/run" "$@"; }
say() { printf '%s\n' "$*" >&2; }

build_root() {
    # shellcheck disable=SC1091
    . /etc/os-release
    local suite=$VERSION_CODENAME sources hooks=() merged=/usr/share/mmdebstrap/hooks/merged-usr
    sources=$(apt-get indextargets --format '$(CREATED_BY) $(SITE) $(CODENAME) $(RELEASE) $(COMPONENT)' |
        awk -v suite="$suite" '$1 == "Packages" && ($3 == suite || $4 == suite) && !seen[$2, $5]++ {
            print "deb", $2, suite, $5 }')
    [ -d "$merged" ] && hooks=(--hook-dir="$merged" --include=usr-is-merged)
    say "installing the services into a folder (mmdebstrap)"
    mmdebstrap --quiet --mode=root --variant=essential "${hooks[@]}" \
        --include=nginx-light,redis-server,postgresql,python3,nodejs,passwd \
        --aptopt='APT::Install-Recommends "false"' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        "$suite" "$dir/root" - <<<"$sources" 2>"$dir/mmdebstrap.log"
    rm -rf "$dir/root"/dev/* "$dir/root"/var/cache/apt/* "$dir/root"/var/lib/apt/lists/*
}

build_image() {
    local root=$dir/root layout=$dir/services media=application/vnd.oci.image
    install -d "$root/srv/app" "$root/srv/www"
    echo hello >"$root/srv/www/index.html"
    cat >"$root/etc/nginx/palisade.conf" <<'CONF'
daemon off;
worker_processes 2;
pid /tmp/nginx.pid;
error_log stderr;
events { worker_connections 64; }
http {
  access_log /tmp/access.log;
  client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
  server { listen 127.0.0.1:8080; root /srv/www; location /proxy/ { proxy_pass http://127.0.0.1:8080/; } }
}
CONF
    cat >"$root/srv/app/app.py" <<'PY'
import http.server, json, os, signal, subprocess, threading
state = {"reloads": 0}
signal.signal(signal.SIGHUP, lambda *_: state.__setitem__("reloads", state["reloads"] + 1))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/crash":
            pid = os.fork()
            if pid == 0:
                os.abort()
            os.waitpid(pid, 0)
        if self.path == "/write":
            with open("/tmp/data", "w") as file:
                file.write("x" * 100000); file.flush(); os.fsync(file.fileno())
        if self.path == "/sh":
            subprocess.run(["/bin/sh", "-c", "echo hi > /tmp/sh"], check=True)
        body = json.dumps(state).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"])); self.do_GET()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
PY
    cat >"$root/srv/app/app.js" <<'JS'
const http = require('http'), fs = require('fs'), child = require('child_process'), zlib = require('zlib');
let reloads = 0;
process.on('SIGHUP', () => { reloads++; });
const server = http.createServer((request, response) => {
  const done = () => response.end(JSON.stringify({ reloads }));
  if (request.url === '/crash') { child.spawn(process.execPath, ['-e', 'process.abort()']).on('exit', done); return; }
  if (request.url === '/write') { fs.writeFileSync('/tmp/data', 'x'.repeat(100000)); zlib.gzip('x'.repeat(100000), done); return; }
  if (request.url === '/sh') { child.execFile('/bin/sh', ['-c', 'echo hi > /tmp/sh'], done); return; }
  request.resume(); request.on('end', done);
}).listen(8080, '127.0.0.1');
process.on('SIGTERM', () => { server.close(() => process.exit(0)); if (server.closeAllConnections) server.closeAllConnections(); });
JS
    # The cluster is made beforehand, as a volume's would be: `initdb` is no part of the service.
    install -d "$root/dev"; [ -c "$root/dev/null" ] || mknod -m 666 "$root/dev/null" c 1 3
    rm -rf "$root/var/lib/pgdata"; install -d -o 33 -g 33 -m 700 "$root/var/lib/pgdata"
    chroot --userspec=33:33 "$root" /bin/sh -c \
        '/usr/lib/postgresql/*/bin/initdb -D /var/lib/pgdata -U www-data -A trust' >"$dir/initdb.log" 2>&1
    rm -rf "$root"/dev/*
    say "packing the image"
    rm -rf "$layout"; mkdir -p "$layout/blobs/sha256"
    tar --sort=name --numeric-owner --mtime=@0 --one-file-system -C "$root" -cf "$dir/layer.tar" .
    local diff arch
    diff=$(sha256sum "$dir/layer.tar" | cut -d' ' -f1)
    arch=$(dpkg --print-architecture)
    gzip -1 -n -f "$dir/layer.tar"
    blob() { # file -> "digest size"
        local digest size
        digest=$(sha256sum "$1" | cut -d' ' -f1); size=$(stat -c %s "$1")
        mv "$1" "$layout/blobs/sha256/$digest"
        echo "$digest $size"
    }
    local layer layer_size config config_size manifest manifest_size
    read -r layer layer_size <<<"$(blob "$dir/layer.tar.gz")"
    echo "{\"architecture\":\"$arch\",\"os\":\"linux\",\"config\":{\"User\":\"33:33\",\"Env\":[\"PATH=/usr/sbin:/usr/bin:/sbin:/bin\"],\"Cmd\":[\"/bin/sh\"]},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:$diff\"]}}" >"$dir/config.json"
    read -r config config_size <<<"$(blob "$dir/config.json")"
    echo "{\"schemaVersion\":2,\"mediaType\":\"$media.manifest.v1+json\",\"config\":{\"mediaType\":\"$media.config.v1+json\",\"digest\":\"sha256:$config\",\"size\":$config_size},\"layers\":[{\"mediaType\":\"$media.layer.v1.tar+gzip\",\"digest\":\"sha256:$layer\",\"size\":$layer_size}]}" >"$dir/manifest.json"
    read -r manifest manifest_size <<<"$(blob "$dir/manifest.json")"
    echo "{\"schemaVersion\":2,\"mediaType\":\"$media.index.v1+json\",\"manifests\":[{\"mediaType\":\"$media.manifest.v1+json\",\"digest\":\"sha256:$manifest\",\"size\":$manifest_size,\"platform\":{\"architecture\":\"$arch\",\"os\":\"linux\"}}]}" >"$layout/index.json"
    echo '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
}

# The first process of the container `$1`, once it is there.
first_process() {
    local pid
    for _ in $(seq 300); do
        pid=$(palisade ps --format tsv | awk -v name="$1" -F'\t' '$2 == name && $3 == "running" { print $4 }')
        if [ -n "$pid" ] && [ "$pid" != - ]; then echo "$pid"; return; fi
        sleep 0.1
    done
    return 1
}

# Drives the service `$1` in the container $PALISADE_CONTAINER; fails where the service does.
drive() {
    local pid child
    pid=$(first_process "$PALISADE_CONTAINER")
    in_net() { nsenter -t "$pid" -n "$@"; }
    wait_for() { for _ in $(seq 150); do if "$@" >/dev/null 2>&1; then return; fi; sleep 0.2; done; return 1; }
    get() { in_net python3 -c 'import sys, urllib.request as u
u.urlopen("http://127.0.0.1:8080" + sys.argv[1], timeout=20).read()' "$1"; }
    post() { in_net python3 -c 'import urllib.request as u
u.urlopen("http://127.0.0.1:8080/", data=b"x" * 100000, timeout=20).read()'; }
    case $1 in
    nginx)
        wait_for get /
        get / ; get /proxy/
        get /missing 2>/dev/null && return 1 # 404
        kill -HUP "$pid"; sleep 1; get /
        child=$(pgrep -P "$pid" | head -1); kill -SEGV "$child"; sleep 1; get /
        kill -USR1 "$pid"; sleep 0.5; get /
        ;;
    redis)
        redis() { in_net redis-cli -p 6379 "$@"; }
        wait_for redis ping
        redis set key value >/dev/null; [ "$(redis get key)" = value ]
        [ "$(redis eval 'return 7' 0)" = 7 ]
        redis bgsave >/dev/null; sleep 1; redis bgrewriteaof >/dev/null; sleep 1
        redis lpush list a b c >/dev/null; redis info >/dev/null; redis client list >/dev/null
        in_net redis-benchmark -p 6379 -n 2000 -q >/dev/null
        redis config set maxmemory 64mb >/dev/null
        child=$(pgrep -P "$pid" redis | head -1); kill -SEGV "$child"; sleep 1
        wait_for redis ping; [ "$(redis get key)" = value ]
        redis shutdown >/dev/null || true
        ;;
    postgresql)
        sql() { in_net psql -q -h 127.0.0.1 -U www-data -d postgres -v ON_ERROR_STOP=1 -Atc "$1"; }
        wait_for sql 'select 1'
        sql 'create table t (id int primary key, v text); insert into t select g, repeat(md5(g::text), 10) from generate_series(1, 50000) g; create index on t (v)'
        sql 'checkpoint'; sql 'vacuum analyze t'
        [ "$(sql 'select count(*) from t join (select * from t order by v) s using (id)')" = 50000 ]
        sql 'set max_parallel_workers_per_gather = 2; set min_parallel_table_scan_size = 0; set parallel_setup_cost = 0; set parallel_tuple_cost = 0; select count(*) from t where v like $$%a%$$' >/dev/null
        kill -HUP "$pid"; sleep 1; sql 'select 1' >/dev/null
        sql 'select pg_sleep(30)' >/dev/null 2>&1 & sleep 1
        child=$(pgrep -f -P "$pid" 'pg_sleep|SELECT' | head -1)
        if [ -n "$child" ]; then kill -SEGV "$child"; fi
        sleep 2; wait_for sql 'select 1'; [ "$(sql 'select count(*) from t')" = 50000 ]
        ;;
    python | node)
        wait_for get /
        for path in / /write /sh /crash; do get "$path"; done
        post; kill -HUP "$pid"; sleep 0.5; get /
        ;;
    esac
}

# The command of a service, one argument a line.
command_of() {
    case $1 in
    nginx) printf '%s\n' /usr/sbin/nginx -c /etc/nginx/palisade.conf ;;
    redis) printf '%s\n' /bin/sh -c 'run() { redis-server --port 6379 --bind 127.0.0.1 --dir /tmp --appendonly yes --save 60 1; }; run; run' ;;
    postgresql)
        local server
        server=$(cd "$dir/root" && echo usr/lib/postgresql/*/bin/postgres)
        printf '%s\n' "/$server" -D /var/lib/pgdata -k /tmp -c listen_addresses=127.0.0.1
        ;;
    python) printf '%s\n' /usr/bin/python3 /srv/app/app.py ;;
    node) printf '%s\n' /usr/bin/node /srv/app/app.js ;;
    esac
}

if [ "${PALISADE_DRIVE:-}" ]; then drive "$PALISADE_DRIVE"; exit; fi
[ -d "$dir/root/usr" ] || build_root
[ -f "$dir/services/index.json" ] || build_image
cat >"$dir/services.yaml" <<'YAML'
version: 1
name: services
images: { verify: off }
containers:
  user: image
  capabilities: []
  read_only_root: false # the database writes to its cluster
  tmpfs: [{ path: /tmp, size: 512Mi, exec: true }, { path: /run, size: 16Mi }]
  seccomp: default
  network: none
  limits: { memory: 2Gi, pids: 256 }
YAML
target=oci:$dir/services
printf '%-11s %9s %9s' service recorded allowed
for reference in "${references[@]}"; do printf '  %-24s' "removed of $(basename "$reference" .json)"; done
printf '  %s\n' 'log mode and enforcement'
for service in "${services[@]}"; do
    mapfile -t command < <(command_of "$service")
    export PALISADE_CONTAINER=record-$service
    palisade profile record --name "$service" --output "$dir/$service.record.json" -- \
        "$program" --quiet --data-dir "$dir/data" --run-dir "$dir/run" run --name "$PALISADE_CONTAINER" \
        --policy "$dir/services.yaml" --entrypoint "${command[0]}" "$target" -- "${command[@]:1}" \
        >"$dir/$service.record.log" 2>&1 &
    recording=$!
    (PALISADE_DRIVE=$service "$here/bench-profiles.sh" --palisade "$program" --dir "$dir") ||
        say "$service: the workload failed while it was recorded"
    palisade stop "$PALISADE_CONTAINER" >/dev/null 2>&1 || true
    wait "$recording" || say "$service: the recording has gaps: $(grep warning "$dir/$service.record.log" | tr '\n' ' ')"
    palisade profile export "$dir/$service.record.json" --output "$dir/$service.seccomp.json"
    verdict=passed
    palisade profile verify "$dir/$service.seccomp.json" "$target" --policy "$dir/services.yaml" \
        --entrypoint "${command[0]}" --format json \
        --exercise "PALISADE_DRIVE=$service '$here/bench-profiles.sh' --palisade '$program' --dir '$dir'" \
        -- "${command[@]:1}" >"$dir/$service.verify.out" 2>"$dir/$service.verify.log" || verdict=FAILED
    python3 - "$service" "$dir" "$verdict" "$program" "${references[@]}" <<'PY'
import json, subprocess, sys
service, folder, verdict, program, *references = sys.argv[1:]
record = json.load(open(f"{folder}/{service}.record.json"))
seen = sum("recorded" in how for how in record["calls"].values())
cells = []
for reference in references:
    out = subprocess.run([program, "profile", "diff", reference, f"{folder}/{service}.seccomp.json", "--format", "json"],
                         capture_output=True, text=True)
    first = out.stderr.splitlines()[0].split()
    before, now, removed = int(first[0]), int(first[4]), int(first[6])
    cells.append(f"{removed} of {before} ({100 * removed / before:.1f}%)")
print(f"{service:<11} {seen:>9} {now:>9}  " + "  ".join(f"{cell:<24}" for cell in cells) + f"  {verdict}", flush=True)
PY
done
