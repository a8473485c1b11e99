#!/usr/bin/env bash
# Adds systemd, the unit and a policy to the guest's root. usage: scripts/vm/systemd.sh FOLDER
set -euo pipefail
cd "$(dirname "$0")/../.."
system=$1

install -D scripts/vm/service.sh "$system/tests/service.sh"
install -D -m 0755 "$system/usr/bin/palisade" "$system/usr/local/bin/palisade"
units=$system/etc/systemd/system
install -D -m 0644 packaging/palisade.service "$units/palisade.service"
# The guest has no journal, and is slow, which a test of the watchdog should not be.
mkdir -p "$units/palisade.service.d" "$system/etc/palisade"
printf '[Service]\nWatchdogSec=10s\nStandardOutput=append:/var/log/palisade.log\nStandardError=inherit\n' >"$units/palisade.service.d/guest.conf"
cat >"$system/etc/palisade/config.yaml" <<'YAML'
watch:
  policy: /etc/palisade/answer.yaml
  respond: on
YAML
cat >"$system/etc/palisade/answer.yaml" <<'YAML'
version: 1
name: answer
response:
  - name: stop-it
    priority: critical
    actions: [freeze, isolate, evidence, kill]
YAML
# The least that systemd needs to reach a target; the tests end the guest.
for target in sysinit basic local-fs shutdown multi-user; do
    printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' "$target" >"$units/$target.target"
done
cat >"$units/default.target" <<'UNIT'
[Unit]
Wants=tests.service
UNIT
cat >"$units/tests.service" <<'UNIT'
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/bash /tests/tests.sh
ExecStopPost=/bin/busybox poweroff -f
UNIT
cat >"$system/etc/systemd/system.conf" <<'CONF'
[Manager]
DefaultStandardOutput=tty
DefaultStandardError=tty
ShowStatus=no
CONF
