#!/bin/bash
# Prove the rig itself, with Debian's own helper in the place of ours: the lab comes up, another host sees what
# this one registers, and a guest's commands reach the target through the helper.
#
#   tests/vm/self-test.sh [SUITE]
set -euo pipefail

payload=$(mktemp -d)
trap 'rm -rf "$payload"' EXIT
cat >"$payload/test" <<'INSIDE'
set -euo pipefail
stamp() { echo "== $1 at $(cut -d' ' -f1 /proc/uptime) s"; }
pr() { sg_persist --no-inquiry "$@"; }

stamp booted
/rig/lab.sh
stamp 'lab up'
source /run/lab.env
cat /run/lab.env
multipath -ll

pr --out --register --param-sark=0xa1 "$PATH_A"
pr --in --read-keys "$HOST_B" | grep -w 0xa1
pr --in --read-full-status "$HOST_B" | grep "${NEXUS_A#naa.}"
! pr --in --read-keys "$PLAIN" | grep -w 0xa1
pr --out --register --param-sark=0xd1 "$PLAIN"
pr --in --read-keys "$PLAIN_HOST_B" | grep -w 0xd1
pr --out --clear --param-rk=0xa1 "$PATH_A"
stamp 'registrations seen by the other hosts'

/rig/registrants.sh 40
test "$(pr --in --read-keys "$HOST_B" | grep -c 0x90)" = 40
/rig/registrants.sh undo
stamp '40 registrants came and went'
/rig/many-maps.sh 40
test "$(dmsetup ls --target multipath | wc -l)" = 41
/rig/many-maps.sh undo
stamp '40 maps came and went'

# On the map this helper fails some commands of a guest, on the bare path none.
qemu-pr-helper -k /run/pr.sock &
until test -S /run/pr.sock; do sleep 0.1; done
/rig/guest.sh /run/pr.sock "$MAP" || echo "the guest on the map failed, as expected"
stamp 'guest on the map done'
pr --out --register-ignore --param-sark=0xa1 "$PATH_A"
pr --out --clear --param-rk=0xa1 "$PATH_A"
pr --out --clear --param-rk=0xd1 "$PLAIN"
/rig/guest.sh /run/pr.sock "$PLAIN"
stamp 'guest on the plain disk done'
INSIDE
"$(dirname "$0")/boot.sh" --suite "${1:-bookworm}" --payload "$payload" --timeout 900 --run 'bash test'
