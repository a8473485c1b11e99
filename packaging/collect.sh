#!/bin/sh
# Collects a program and what it needs to run into a folder that becomes an image.
#   collect.sh PROGRAM FOLDER
set -eu
program=$1
folder=$2

mkdir -p "$folder/usr/local/bin" "$folder/etc/palisade" "$folder/etc/ssl/certs" \
    "$folder/var/lib/palisade" "$folder/run/palisade" "$folder/tmp" "$folder/proc" "$folder/sys"
chmod 1777 "$folder/tmp"
cp "$program" "$folder/usr/local/bin/"

# The loader and the libraries, at the paths where the loader looks for them.
ldd "$program" | grep -o '/[^ ]*\.so[^ ]*' | while read -r library; do
    mkdir -p "$folder$(dirname "$library")"
    cp -L "$library" "$folder$library"
done

# Roots of trust for sinks over TLS, where this machine has them.
if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
    cp -L /etc/ssl/certs/ca-certificates.crt "$folder/etc/ssl/certs/"
fi
[ -e "$folder/etc/passwd" ] || echo 'root:x:0:0:root:/:/nonexistent' >"$folder/etc/passwd"
[ -e "$folder/etc/group" ] || echo 'root:x:0:' >"$folder/etc/group"
