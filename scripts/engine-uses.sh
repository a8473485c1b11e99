#!/usr/bin/env bash
# What Docker is used for, with plain runC and with the program in front of it as the default runtime: each use is run in
# both and must print the same, exit codes included. Every engine is started with everything of its own, in namespaces.
# usage: scripts/engine-uses.sh [--install] [--palisade FILE] [--only SETUP] [--keep]        (as root)
#
# Setups: `runc` (the engine as it comes, what the others are compared with), `nothing` (a policy that restricts
# nothing), `baseline`, `crun` (baseline, handing over to crun). --only compares one of them; --keep leaves what each use
# printed. --install puts buildx and Compose 2 aside in target/uses, from Debian's testing (unpacked, not installed);
# without them those uses are left out, and that is said.
set -euo pipefail
cd "$(dirname "$0")/.."

palisade=target/release/palisade tools=$PWD/target/uses setups="nothing baseline crun" keep="" install=""
while [ $# -gt 0 ]; do
    case "$1" in
        --palisade) palisade=$2; shift 2 ;;
        --only) setups=$2; shift 2 ;;
        --keep) keep=yes; shift ;;
        --install) install=yes; shift ;;
        *) echo "error: unknown argument $1" >&2; exit 2 ;;
    esac
done
[ "$(id -u)" -eq 0 ] || { echo "error: containers need root" >&2; exit 3; }
for program in dockerd containerd docker runc busybox tar unshare nsenter ip iptables script timeout; do
    command -v "$program" >/dev/null || { echo "error: $program is not installed (scripts/install-deps.sh test)" >&2; exit 3; }
done
palisade=$(realpath "$palisade")

if [ -n "$install" ]; then
    mkdir -p "$tools"/apt/{state,lists/partial,cache/archives/partial}
    touch "$tools/apt/state/status"
    # The machine's own mirror, in either form of the file.
    mirror=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true; } |
        sed -nE 's/^(URIs: |deb (\[.*\] )?)(https?:[^ ]+\/debian)\/?( .*)?$/\3/p' | sed -n 1p)
    echo "deb $mirror testing main" >"$tools/apt/sources.list"
    cat >"$tools/apt.conf" <<CONF
Dir::State "$tools/apt/state";
Dir::State::lists "$tools/apt/lists";
Dir::State::status "$tools/apt/state/status";
Dir::Cache "$tools/apt/cache";
Dir::Etc::sourcelist "$tools/apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
CONF
    (export APT_CONFIG=$tools/apt.conf
        apt-get update -qq && cd "$tools" && apt-get download -qq docker-buildx docker-compose) || true
    for package in "$tools"/*.deb; do
        if [ -e "$package" ]; then dpkg-deb -x "$package" "$tools/root"; fi
    done
fi
plugins=$tools/root/usr/libexec/docker/cli-plugins
# The client of the distribution speaks to BuildKit by itself; newer ones need buildx for it.
docker=docker
for candidate in /usr/bin/docker "$(command -v docker)"; do
    if [ -x "$candidate" ]; then docker=$candidate; break; fi
done

work=$(mktemp -d /var/tmp/palisade-uses-XXXXXX)
chmod 711 "$work"
name=$(basename "$work")
engine=""
stop_engine() {
    # The first process of its namespace takes the engine with it.
    [ -z "$engine" ] || { kill -9 "$engine" 2>/dev/null; wait "$engine" 2>/dev/null; } || true
    engine=""
    find /sys/fs/cgroup -depth -type d -path "*/$name*" -exec rmdir {} + 2>/dev/null || true
}
clean() {
    stop_engine
    if [ -n "$keep" ]; then echo "kept: $work/said" >&2; else rm -rf "$work"; fi
}
trap clean EXIT

# --- an image of one static program
mkdir -p "$work/root"/{bin,etc,tmp,srv,proc,sys,dev,run} "$work/said" "$work/links"
chmod 1777 "$work/root/tmp"
cp "$(command -v busybox)" "$work/root/bin/busybox"
for link in cat chmod cp cut date echo env grep head hostname httpd id ip kill ls mkdir mknod mount nc nslookup ping ps pwd rm sed sh sleep \
    sort stat stty tail test touch tr true tty umount vi wc wget; do
    ln -s busybox "$work/root/bin/$link"
done
printf 'root:x:0:0::/root:/bin/sh\nweb:x:33:33::/:/bin/sh\n' >"$work/root/etc/passwd"
printf 'root:x:0:\nweb:x:33:\nlog:x:44:\n' >"$work/root/etc/group"
tar -C "$work/root" -cf "$work/box.tar" .
# The small program where it is, as `palisade install` does.
small=$(dirname "$palisade")/palisade-runtime
[ -x "$small" ] || small=$palisade
for link in palisade-runtime runc crun; do ln -s "$small" "$work/links/$link"; done
cat >"$work/nothing.yaml" <<'YAML'
version: 1
name: nothing
images: {verify: off}
containers:
  capabilities: [AUDIT_WRITE, CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, MKNOD, NET_BIND_SERVICE, NET_RAW, SETFCAP, SETGID,
    SETPCAP, SETUID, SYS_CHROOT]
  no_new_privileges: false
  seccomp: unconfined
  mask_paths: false
  limits: {pids: none, core: none}
YAML

# --- one engine
start_engine() { # setup
    local at=$work/$1 before="" parent=/$name
    mkdir -p "$at/home/.docker/cli-plugins"
    for plugin in docker-buildx docker-compose; do
        if [ -x "$plugins/$plugin" ]; then ln -s "$plugins/$plugin" "$at/home/.docker/cli-plugins/$plugin"; fi
    done
    local runtimes="" handed=""
    case "$1" in
        runc) ;;
        *)
            local policy=baseline
            if [ "$1" = nothing ]; then policy=$work/nothing.yaml; fi
            if [ "$1" = crun ]; then
                handed=", \"runtime\": \"$(command -v crun)\""
                # crun refuses a machine that has control groups of both versions.
                before='if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi'
            fi
            echo "{\"policy\": \"$policy\", \"state\": \"$at/state\"$handed}" >"$at/runtime.json"
            runtimes=", \"runtimes\": {\"palisade\": {\"path\": \"$work/links/palisade-runtime\"}}, \"default-runtime\": \"palisade\""
            before="$before
export PATH=$work/links:\$PATH PALISADE_RUNTIME_CONFIG=$at/runtime.json" ;;
    esac
    cat >"$at/daemon.json" <<JSON
{"data-root": "$at/data", "exec-root": "$at/exec", "pidfile": "$at/pid", "hosts": ["unix://$at/sock"],
 "storage-driver": "vfs", "cgroup-parent": "$parent"$runtimes}
JSON
    cat >"$at/start" <<SH
set -e
ip link set lo up
mkdir -p /run/docker
mount -t tmpfs tmpfs /run/docker
$before
dockerd --config-file $at/daemon.json >$at/dockerd.log 2>&1
SH
    unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private sh "$at/start" &
    engine=$!
    export DOCKER_HOST=unix://$at/sock HOME=$at/home DOCKER_BUILDKIT=0 COMPOSE_PROJECT_NAME=project
    for _ in $(seq 200); do
        if $docker version >/dev/null 2>&1; then break; fi
        kill -0 "$engine" 2>/dev/null || break
        sleep 0.2
    done
    $docker import "$work/box.tar" box >/dev/null || { tail -n 5 "$at/dockerd.log" >&2; exit 3; }
    daemon=$(pgrep -f "^dockerd --config-file $at/daemon.json" | head -n 1)
}

# --- the uses; each prints what is compared
# Limits below those of this process: an engine's own ask for more than a machine may give.
limits=(--ulimit nofile=1024:1024 --ulimit nproc=1024:1024)
d() { "$docker" "$@"; }
r() { d run "${limits[@]}" "$@"; }
sh_() { r --rm "${@:1:$#-1}" box /bin/sh -c "${*: -1}"; }
bg() { r --detach "$@" >/dev/null; }
beside() { nsenter --target "$daemon" --net /bin/busybox sh -c "$1"; }
# Until a command succeeds, for some seconds.
soon() {
    local _
    for _ in $(seq 100); do if "$@" >/dev/null 2>&1; then return 0; fi; sleep 0.2; done
    echo "never: $*"
    return 1
}
is() { [ "$(d inspect --format "$2" "$1" 2>/dev/null)" = "$3" ]; }
ask() { echo "for i in 1 2 3 4 5 6 7 8 9; do wget -q -O - $1 && break; sleep 1; done"; }
page='echo page >/srv/index.html; exec /bin/httpd -f -p 8080 -h /srv'

use() { # group, name; the commands come on standard input
    local group=$1 title=$2 code
    code=$(cat)
    printf '%s\t%s\n' "$group" "$title" >>"$work/said/$setup.list"
    local number
    number=$(wc -l <"$work/said/$setup.list")
    local out=$work/said/$setup.$number
    (set +e; cd "$work/$setup"; eval "$code"; echo "exit $?") >"$out.raw" 2>"$out.error" </dev/null
    # Which of two streams comes first is anybody's guess.
    cat "$out.error" >>"$out.raw"
    # Numbers of containers and networks, times, folders and where a terminal echoes the end of its input differ from run
    # to run.
    sed -E -e "s#$work/$setup#WORK#g" -e 's/\b([0-9a-f]{12}|[0-9a-f]{64})\b/ID/g' -e 's/[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z?/TIME/g' \
        -e 's/\b[0-9]+(\.[0-9]+)?s\b/SECONDS/g' -e 's/\^@//g' < <(tr -d '\000\r' <"$out.raw") >"$out"
}

uses() {
    local at=$work/$setup
    mkdir -p "$at/bind"
    echo "from outside" >"$at/bind/in"

    use "exit codes" "of the program" <<<'sh_ "exit 7"'
    use "exit codes" "killed by a signal" <<<'bg --name kk box /bin/sleep 100; d kill kk; d wait kk; d rm kk; r --rm --init box /bin/sh -c "kill -SEGV \$\$"'
    use "exit codes" "a missing program (127)" <<<'r --rm box /no/such 2>/dev/null'
    use "exit codes" "what cannot be executed (126)" <<<'r --rm box /etc/passwd 2>/dev/null'
    use "exit codes" "wait" <<<'bg --name ww box /bin/sh -c "sleep 1; exit 9"; d wait ww; d rm ww'

    use "settings" "environment, folder, user, groups, host name" <<<'sh_ --env "A=b c" --workdir /srv --user 33:33 --group-add log --hostname h "echo \$A; pwd; id; hostname"'
    use "settings" "a file of variables" <<<'printf "ONE=1\n# no\nTWO=a b\n" >vars; sh_ --env-file vars "env | grep -E ^\(ONE\|TWO\) | sort"'
    use "settings" "user by name, entry point, labels" <<<'r --rm --user web --entrypoint /bin/id box -un; bg --name ll --label a=b box /bin/true; d inspect --format "{{.Config.Labels}}" ll; d rm ll'
    use "settings" "hosts, DNS, an address of hardware" <<<'sh_ --add-host other:192.0.2.7 --dns 192.0.2.53 --mac-address 02:42:ac:11:00:77 "grep other /etc/hosts; cat /etc/resolv.conf; ip link show eth0 | grep -o 02:42:ac:11:00:77"'
    use "settings" "limits of memory, processor, processes, files" <<<'sh_ --memory 32m --cpus 0.5 --pids-limit 50 --ulimit nofile=77 "ulimit -n; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max"'
    use "settings" "capabilities dropped, read-only root, shared memory" <<<'sh_ --cap-drop ALL --read-only --shm-size 8m "grep CapEff /proc/self/status; touch /x 2>&1; grep -c /dev/shm.*8192k /proc/mounts"'
    use "settings" "--init reaps and hands signals on" <<<'bg --init --name ii box /bin/sleep 100; d exec ii /bin/cat /proc/1/comm; d stop --time 5 ii >/dev/null; d inspect --format "{{.State.ExitCode}}" ii; d rm ii'
    use "settings" "a sysctl of its own network" <<<'sh_ --sysctl net.ipv4.ip_unprivileged_port_start=80 "cat /proc/sys/net/ipv4/ip_unprivileged_port_start"'
    use "settings" "a harmless device" <<<'sh_ --device /dev/null:/dev/nothing "echo x >/dev/nothing; stat -c %F /dev/nothing"'

    use "volumes" "a folder, both ways" <<<'sh_ -v "$PWD/bind:/b" "cat /b/in; echo written >/b/out"; cat bind/out'
    use "volumes" "a read-only folder" <<<'sh_ -v "$PWD/bind:/b:ro" "cat /b/in; echo x >/b/out"'
    use "volumes" "a named volume keeps" <<<'sh_ -v data:/d "echo kept >/d/f"; sh_ -v data:/d:ro "cat /d/f; echo x >/d/g"; d volume ls --quiet; d volume rm data'
    use "volumes" "an image's content in a new volume" <<<'sh_ -v fresh:/etc "cat /etc/group"; d volume rm fresh'
    use "volumes" "--mount, with tmpfs" <<<'sh_ --mount "type=bind,src=$PWD/bind,dst=/b,readonly" --mount type=volume,src=m,dst=/m --mount type=tmpfs,dst=/t,tmpfs-size=64k "cat /b/in; touch /m/x /t/x; ls /m /t; head -c 100000 /dev/zero >/t/y"; d volume rm m'
    use "volumes" "--tmpfs" <<<'sh_ --tmpfs /t:size=64k,mode=700 "stat -c %a /t; echo x >/t/f; cat /t/f"'
    use "volumes" "--volumes-from" <<<'bg --name vv -v /shared box /bin/sh -c "echo theirs >/shared/f"; d wait vv; sh_ --volumes-from vv "cat /shared/f"; d rm --volumes vv'

    use "networks" "a published port" <<<'bg --name web --publish 18080:8080 box /bin/sh -c "$page"; beside "$(ask http://127.0.0.1:18080/)"; d port web'
    use "networks" "a link of the old kind" <<<'sh_ --link web:shop "$(ask http://shop:8080/); env | grep -c SHOP_"'
    use "networks" "none" <<<'sh_ --network none "ip link | grep -c eth0"'
    use "networks" "names on a network of one's own" <<<'d network create --subnet 10.77.0.0/24 net >/dev/null; bg --name far --network net --network-alias alias --ip 10.77.0.9 box /bin/sh -c "$page"; sh_ --network net "$(ask http://far:8080/); $(ask http://alias:8080/); $(ask http://10.77.0.9:8080/)"'
    use "networks" "connect and disconnect" <<<'d network connect net web; sh_ --network net "$(ask http://web:8080/)"; d network disconnect net web; sh_ --network net "wget -T 2 -q -O - http://web:8080/ 2>&1 | head -n 1"'
    use "networks" "another container's" <<<'sh_ --network container:far "$(ask http://127.0.0.1:8080/)"'
    use "networks" "no way between two networks" <<<'sh_ "wget -T 2 -q -O - http://10.77.0.9:8080/ 2>&1"; d rm -f far; d network rm net'

    use "processes" "exec, its exit code" <<<'d exec web /bin/sh -c "cat /srv/index.html; exit 3"'
    use "processes" "exec -u -w -e" <<<'d exec -u 33 -w /srv -e A=1 web /bin/sh -c "id -u; pwd; echo \$A"'
    use "processes" "exec with input" <<<'echo given | d exec -i web /bin/cat'
    use "processes" "exec -d" <<<'d exec -d web /bin/sh -c "echo later >/srv/later"; soon d exec web /bin/test -s /srv/later; d exec web /bin/cat /srv/later'
    use "processes" "exec with a terminal" <<<'script -qec "stty cols 91 rows 33; $docker exec -it web /bin/sh -c '"'"'tty; sleep 1; test -t 1 && echo terminal; stty size'"'"'" /dev/null'
    use "processes" "run with a terminal" <<<'script -qec "stty cols 91 rows 33; $docker run --rm ${limits[*]} -it box /bin/sh -c '"'"'tty; sleep 1; stty size; exit 6'"'"'" /dev/null; echo $?'
    use "processes" "input, attach, detached exit" <<<'bg -i --name aa box /bin/sh -c "read x; sleep 1; echo got \$x; sleep 1; exit 4"; echo hi | d attach aa; echo $?; d rm aa'
    use "processes" "top, pause, unpause" <<<'d top web -o comm; d pause web; d inspect --format "{{.State.Status}}" web; d unpause web'
    use "processes" "another container's processes" <<<'sh_ --pid container:web "ps -o comm | grep httpd | sort -u"'

    use "files" "cp in and out" <<<'echo copied >copied; d cp copied web:/srv/copied 2>/dev/null; d exec web /bin/cat /srv/copied; d cp web:/srv/index.html out 2>/dev/null; cat out'
    use "files" "cp of archives" <<<'tar -cf - copied | d cp - web:/tmp; d exec web /bin/cat /tmp/copied; d cp web:/tmp/copied - | tar -xOf -'
    use "files" "diff, export" <<<'d diff web | sort; d export web | tar -tf - | grep srv/ | sort'
    use "files" "commit, save, load" <<<'d commit -c "CMD [\"/bin/cat\",\"/srv/copied\"]" web kept >/dev/null; d save kept -o kept.tar; d rmi kept >/dev/null; d load -q -i kept.tar; r --rm kept'

    use "logs" "both streams, tail, timestamps" <<<'r --name ss box /bin/sh -c "echo one; sleep 0.5; echo two >&2"; d logs ss; d logs --tail 1 ss 2>&1; d logs -t ss 2>/dev/null | cut -c 31-; d rm ss'
    use "logs" "followed to the end" <<<'bg --name ff box /bin/sh -c "for i in 1 2 3; do echo \$i; sleep 0.3; done"; d logs -f ff; d rm ff'

    use "life" "stop: handled, ignored, another signal" <<<'bg --name aa box /bin/sh -c "trap \"exit 5\" TERM; while :; do sleep 0.1; done"; bg --name bb box /bin/sh -c "trap \"\" TERM; while :; do sleep 0.1; done"; bg --name cc --stop-signal INT box /bin/sh -c "trap \"exit 6\" INT; while :; do sleep 0.1; done"; sleep 1; d stop -t 5 aa; d stop -t 1 bb; d stop -t 5 cc; d inspect --format "{{.Name}} {{.State.ExitCode}}" aa bb cc; d rm aa bb cc'
    use "life" "kill by name and number" <<<'bg --name kk box /bin/sh -c "trap \"echo usr1; exit 8\" USR1; while :; do sleep 0.1; done"; sleep 1; d kill -s USR1 kk; d wait kk; d logs kk; d rm kk'
    use "life" "restart, rename, start again" <<<'d restart -t 0 web; d rename web www; d exec www /bin/cat /srv/index.html; d stop -t 0 www; d start www; d rename www web'
    use "life" "--restart on-failure" <<<'bg --name oo --restart on-failure:2 box /bin/sh -c "exit 3"; soon is oo "{{.RestartCount}} {{.State.Status}}" "2 exited"; d inspect --format "{{.State.ExitCode}}" oo; d rm oo'
    use "life" "--restart always" <<<'bg --name oo --restart always box /bin/sh -c "sleep 0.5"; soon is oo "{{ge .RestartCount 2}}" true && echo restarted; d rm -f oo'
    use "life" "health: well, then not" <<<'bg --name hh --health-cmd "test ! -e /sick" --health-interval 1s --health-retries 1 box /bin/sleep 100; soon is hh "{{.State.Health.Status}}" healthy && echo healthy; d exec hh /bin/touch /sick; soon is hh "{{.State.Health.Status}}" unhealthy && echo unhealthy; d rm -f hh'
    use "life" "limits changed while it runs" <<<'d update --memory 64m --memory-swap 64m web; d exec web /bin/cat /sys/fs/cgroup/memory/memory.limit_in_bytes'
    # The engine hears of it beside the end of the container, and on a busy machine too late.
    use "life" "out of memory" <<<'for i in 1 2 3 4; do r --name mm --memory 16m --memory-swap 16m box /bin/sh -c "x=a; while :; do x=\$x\$x; done" >/dev/null 2>&1; said=$(d inspect --format "{{.State.OOMKilled}} {{.State.ExitCode}}" mm); d rm mm; [ "$said" = "true 137" ] && break; done; echo "$said"'
    use "life" "events" <<<'d events --since 1h --until "$(date +%s)" --filter container=web --filter event=start --filter event=stop --format "{{.Status}}" | sort | uniq -c'

    mkdir -p "$at/context"
    cat >"$at/context/Dockerfile" <<'FILE'
FROM box AS first
ARG WHAT=file
COPY f /f
ENV A=1
RUN echo built >/made && cat /f >>/made && mkdir /own && chmod 700 /own
RUN echo $WHAT $A >>/made
FROM box
COPY --from=first /made /made
WORKDIR /srv
USER 33
RUN id -u >/tmp/id
HEALTHCHECK CMD true
CMD ["/bin/cat", "/made", "/tmp/id"]
FILE
    echo "file" >"$at/context/f"
    use "build" "classic, two stages" <<<'DOCKER_BUILDKIT=0 d build -q "${limits[@]}" --network none --build-arg WHAT=argument -t built context >/dev/null && r --rm built'
    use "build" "classic, a step that fails" <<<'mkdir bad; printf "FROM box\nRUN exit 5\n" >bad/Dockerfile; DOCKER_BUILDKIT=0 d build -q "${limits[@]}" --network none bad 2>&1 | tail -n 1'
    use "build" "BuildKit of the engine" <<<'DOCKER_BUILDKIT=1 d build -q --network none --build-arg WHAT=argument -t built2 context >/dev/null && r --rm built2'
    if [ -x "$plugins/docker-buildx" ]; then
        use "build" "buildx, with a cache and a secret" <<<'printf "FROM box\nRUN --mount=type=cache,target=/c --mount=type=secret,id=s cat /run/secrets/s && echo x >/c/x\nRUN --mount=type=cache,target=/c cat /c/x >/made\nCMD [\"/bin/cat\",\"/made\"]\n" >kit; echo word >word; d buildx build -q --network none --secret id=s,src=word --load -t built3 -f kit bind >/dev/null && r --rm built3'
    fi
    cat >"$at/compose.yaml" <<YAML
version: '3'
services:
  server:
    image: box
    ulimits: {nofile: 1024, nproc: 1024}
    command: [/bin/sh, -c, '$page']
    volumes: ['shared:/shared', './bind:/b:ro']
    healthcheck: {test: [CMD, /bin/test, -e, /srv/index.html], interval: 1s}
  client:
    image: box
    ulimits: {nofile: 1024, nproc: 1024}
    command: [/bin/sleep, '100']
    init: true
    depends_on: [server]
volumes:
  shared:
YAML
    local compose
    for compose in docker-compose "$docker compose"; do
        if [ "$compose" = docker-compose ]; then command -v docker-compose >/dev/null || continue; else [ -x "$plugins/docker-compose" ] || continue; fi
        export compose
        use "compose" "$(basename "$compose")" <<<'$compose -f compose.yaml up -d 2>/dev/null; $compose -f compose.yaml exec -T client /bin/sh -c "$(ask http://server:8080/)"; $compose -f compose.yaml exec -T server /bin/cat /b/in; $compose -f compose.yaml ps -q 2>/dev/null | wc -l; $compose -f compose.yaml down -t 0 -v 2>/dev/null'
    done
    use "end" "nothing is left" <<<'d rm -f web; d ps -aq; d volume ls -q; d network ls --format "{{.Name}}" | sort'
}

setup=""
for setup in runc $setups; do
    if [ "$setup" = crun ] && ! command -v crun >/dev/null; then echo "skipped: crun is not installed" >&2; setups=${setups/crun/}; continue; fi
    [ ! -t 2 ] || echo "running: $setup" >&2
    start_engine "$setup"
    uses
    if grep -q palisade "$work/$setup/daemon.json" 2>/dev/null && [ "$setup" != runc ]; then
        # What was written down of containers is forgotten with them.
        left=$(find "$work/$setup/state" -mindepth 1 -not -path '*/runtimes*' | wc -l)
        echo "$left" >"$work/said/$setup.left"
    fi
    stop_engine
done
[ -x "$plugins/docker-buildx" ] || echo "left out: buildx and Compose 2 (--install puts them aside)" >&2

# --- the table
status=0 n_uses=$(wc -l <"$work/said/runc.list")
declare -A same all differs
groups=()
for number in $(seq "$n_uses"); do
    IFS=$'\t' read -r group title < <(sed -n "${number}p" "$work/said/runc.list")
    case " ${groups[*]} " in *" ${group// /_} "*) ;; *) groups+=("${group// /_}") ;; esac
    key=${group// /_}
    all[$key]="${all[$key]:+${all[$key]}; }$title"
    for setup in $setups; do
        if cmp -s "$work/said/runc.$number" "$work/said/$setup.$number"; then
            same[$key.$setup]=$((${same[$key.$setup]:-0} + 1))
        else
            differs[$key.$setup]="${differs[$key.$setup]:+${differs[$key.$setup]}; }$title"
            status=1
            { echo "--- $setup: $group: $title"; diff "$work/said/runc.$number" "$work/said/$setup.$number" || true; } >&2
        fi
    done
done
printf '| uses |'; for setup in $setups; do printf ' %s |' "$setup"; done; echo
printf '|---|'; for setup in $setups; do printf -- '---|'; done; echo
for key in "${groups[@]}"; do
    printf '| %s: %s |' "${key//_/ }" "${all[$key]}"
    for setup in $setups; do
        if [ -n "${differs[$key.$setup]:-}" ]; then printf ' differs: %s |' "${differs[$key.$setup]}"; else printf ' %s same |' "${same[$key.$setup]}"; fi
    done
    echo
done
for setup in $setups; do
    left=$(cat "$work/said/$setup.left")
    if [ "$left" -ne 0 ]; then echo "$setup: $left records of containers that are gone are left" >&2; status=1; fi
done
echo "$n_uses uses"
exit "$status"
