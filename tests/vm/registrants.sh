#!/bin/bash
# Runs INSIDE the machine: N more hosts on the map's LUN, each registered with its own key (0x9001,
# 0x9002, ...), for the sizes of READ KEYS and READ FULL STATUS data that one host never sees.
#
#   /rig/registrants.sh N       make them
#   /rig/registrants.sh undo    unregister and remove them all
set -euo pipefail
# shellcheck source=lio.sh
source "$(dirname "${BASH_SOURCE[0]}")/lio.sh"

key_of() { printf '0x%x\n' $((0x9000 + ${1#registrant})); }
# Read-only: a disk that was open for writing is looked at by all of udev's rules again.
pr_out() { sg_persist --no-inquiry --readonly --out "$@" >/dev/null; }

if [[ ${1:?number of registrants, or undo} == undo ]]; then
    for ((i = 1; ; i++)); do
        name=registrant$i
        [[ -d $(hba_of $name) ]] || break
        pr_out --register --param-rk="$(key_of $name)" "$(disk_of $name)" || true
        remove_hba $name
    done
else
    for ((i = 1; i <= $1; i++)); do
        name=registrant$i
        make_hba $name
        show_lun map $name
        pr_out --register-ignore --param-sark="$(key_of $name)" "$(disk_of $name)"
    done
fi
udevadm settle
