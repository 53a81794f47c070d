#!/bin/bash
# Runs INSIDE the machine: N more multipath maps over the two paths of mpatha, as a host with many LUNs
# has them; "undo" removes them.  libmpathpersist walks all maps at each call.  multipathd would remove them at
# once (their paths belong to mpatha), so they are hidden from it until it is restarted or reconfigured.
#
#   /rig/many-maps.sh N|undo
set -euo pipefail
# shellcheck source=/dev/null
source /run/lab.env

if [[ ${1:?number of maps, or undo} == undo ]]; then
    dmsetup ls --target multipath | awk '/^many/ { print $1 }' | xargs -r dmsetup remove --noudevrules --noudevsync
    exit
fi
# Without this property multipathd does not take the device for a multipath map.
mkdir -p /run/udev/rules.d
echo 'ENV{DM_NAME}=="many*", ENV{DM_UUID}="", OPTIONS="nowatch"' >/run/udev/rules.d/99-many-maps.rules
udevadm control --reload
sectors=$(blockdev --getsz "$MAP")
a=$(lsblk -dno MAJ:MIN "$PATH_A" | tr -d ' ')
b=$(lsblk -dno MAJ:MIN "$PATH_B" | tr -d ' ')
table="0 $sectors multipath 0 1 alua 1 1 service-time 0 2 1 $a 1 $b 1"
for ((i = 1; i <= $1; i++)); do
    dmsetup create "many$i" --noudevrules --noudevsync --table "$table" \
        --uuid "mpath-$(printf '36001405%025x' $((0xabc0000 + i)))"
done
