#!/usr/bin/env bash
# Unpacks the servers that the probe is tested with into a folder, out of this release's packages.
# usage: scripts/servers.sh DIR      (as root; needs mmdebstrap)
#
# Nothing is installed and no script of a package runs: the machine gets no server of mail or logins by its tests.
# Packages that this release does not have are named and left out.
set -euo pipefail

target=${1:?usage: scripts/servers.sh DIR}
packages=(postgresql mariadb-server-core memcached mosquitto openssh-server postfix dovecot-imapd dovecot-pop3d
    rabbitmq-server vsftpd etcd-server nginx-light)

# shellcheck disable=SC1091
. /etc/os-release
suite=$VERSION_CODENAME

# The mirror that apt uses for the release itself; no security, no updates pocket.
sources=$(apt-get indextargets --format '$(CREATED_BY) $(SITE) $(CODENAME) $(RELEASE) $(COMPONENT)' |
    awk -v suite="$suite" '$1 == "Packages" && ($3 == suite || $4 == suite) && !seen[$2, $5]++ {
        print "deb", $2, suite, $5 }')
[ -n "$sources" ] || { echo "error: apt has no source for $suite; run apt-get update" >&2; exit 3; }

include=()
for package in "${packages[@]}"; do
    if apt-cache show "$package" >/dev/null 2>&1; then
        include+=("--include=$package")
    else
        echo "warning: $suite has no $package" >&2
    fi
done

work=$(mktemp -d "$target.XXXXXX")
trap 'rm -rf "$work"' EXIT
mmdebstrap --quiet --mode=root --variant=extract "${include[@]}" "$suite" "$work/root" - <<<"$sources" 2>"$work/log" ||
    { cat "$work/log" >&2; exit 3; }
rm -rf "$target" "$work"/root/usr/share/{doc,man,locale}
mv "$work/root" "$target"
