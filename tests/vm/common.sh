# Shared by the scripts that run on the host: image.sh and boot.sh.  Sourced, never run.
# shellcheck shell=bash

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Everything built lands here; nothing else on the host is written.
# shellcheck disable=SC2034
cache=${VM_CACHE:-$here/../../target/vm}

say() { printf 'vm: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# need COMMAND=PACKAGE...: install the packages whose commands are missing.
need() {
    local pair missing=()
    for pair; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    ((${#missing[@]})) || return 0
    say "installing ${missing[*]}"
    local sudo=()
    ((EUID == 0)) || sudo=(sudo)
    { "${sudo[@]}" apt-get update -q &&
        "${sudo[@]}" apt-get install -qy --no-install-recommends "${missing[@]}"; } >&2 ||
        die "cannot install ${missing[*]}"
}
