#!/bin/bash
# Runs INSIDE the machine: a LUN of its own, whose target can lose power.  (LIO of Linux 6.1 does not let go of the LUN
# that all scenarios share: after some of them removing it hangs for ever.)
#
#   /rig/power-loss.sh make     shows it on two paths that are a map, and to another host; prints what lab.env would say
#   /rig/power-loss.sh lose     it loses power, and comes back
#   /rig/power-loss.sh remove
#
# A power loss is this: the LUN is taken from every HBA and made anew on the same file, with the same WWID.  Its
# registrations are gone (LIO keeps them only with APTPL, in a file that is removed here too), and PRGENERATION
# starts at zero.
set -euo pipefail
# shellcheck source=lio.sh
source "$(dirname "${BASH_SOURCE[0]}")/lio.sh"

serial=1ab00003
hbas=(power_a power_b power_host_b)

map_name() { dmsetup info --columns --noheadings --options name,uuid | sed -n "s/:mpath-[0-9a-f]*${serial}0*\$//p"; }
is_gone() { ! compgen -G "/sys/bus/scsi/devices/$(scsi_address "$1")" >/dev/null; }
has_no_map() {
    local name
    name=$(map_name)
    [[ -n $name ]] || return 0
    multipathd remove map "$name" >/dev/null
    return 1
}
has_two_paths() {
    local name
    name=$(map_name)
    [[ -n $name && $(dmsetup status "$name" | grep -oE '[0-9]+:[0-9]+ A' | wc -l) == 2 ]]
}

show() {
    make_lun power $serial
    for hba in "${hbas[@]}"; do
        show_lun power "$hba"
    done
    wait_until 'the map has two active paths' has_two_paths
    udevadm settle
}
# The map first: with no path left it would keep the I/O of whoever looks at it, and a LUN with I/O in flight
# is not let go.
take_away() {
    wait_until 'the map is removed' has_no_map
    for hba in "${hbas[@]}"; do
        echo 1 >"/sys/bus/scsi/devices/$(scsi_address "$hba")/delete"
        wait_until "$hba has lost the LUN" is_gone "$hba"
        rm "$(tpg_of "$hba")/lun/lun_0/lun"
    done
    rmdir "$target/core/fileio_0/power"
    rm -f /etc/target/pr/aptpl_*$serial* /var/target/pr/aptpl_*$serial*
    udevadm settle
}

case ${1:?make, lose or remove} in
    make)
        for hba in "${hbas[@]}"; do
            make_hba "$hba"
        done
        paths_on 12-power power_a power_b
        show
        echo "MAP=/dev/mapper/$(map_name)"
        describe power_a:PATH_A:A power_b:PATH_B:B power_host_b:HOST_B:HOST_B
        ;;
    lose)
        take_away
        show
        ;;
    remove)
        take_away
        for hba in "${hbas[@]}"; do
            remove_hba "$hba"
        done
        rm /run/udev/rules.d/12-power.rules
        ;;
    *) echo "unknown: $1" >&2; exit 2 ;;
esac
