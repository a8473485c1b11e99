#!/usr/bin/env bash
# Installs the program, its manual pages and completions. usage: scripts/install.sh PROGRAM PREFIX
set -euo pipefail
program=$1
prefix=$2

install -D -m 0755 "$program" "$prefix/bin/palisade"
# What engines call, small so that it starts at once.
install -D -m 0755 "$(dirname "$program")/palisade-runtime" "$prefix/bin/palisade-runtime"
"$program" --quiet man "$prefix/share/man/man1"
install -d "$prefix/share/bash-completion/completions" "$prefix/share/zsh/site-functions" \
    "$prefix/share/fish/vendor_completions.d"
"$program" completions bash >"$prefix/share/bash-completion/completions/palisade"
"$program" completions zsh >"$prefix/share/zsh/site-functions/_palisade"
"$program" completions fish >"$prefix/share/fish/vendor_completions.d/palisade.fish"
echo "installed under $prefix"
