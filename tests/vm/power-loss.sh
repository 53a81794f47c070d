#!/bin/bash
# Runs INSIDE the machine: the target of the map's LUN loses power.  The LUN is taken from every HBA and made
# anew on the same file, with the same WWID: its registrations are gone (LIO keeps them only with APTPL, in a
# file that is removed here too), and PRGENERATION starts at zero.
set -euo pipefail
# shellcheck source=lio.sh
source "$(dirname "${BASH_SOURCE[0]}")/lio.sh"

gone() { ! compgen -G "/sys/bus/scsi/devices/$(scsi_address "$1")" >/dev/null; }
no_map() { multipathd remove map mpatha >/dev/null; [[ ! -e /dev/mapper/mpatha ]]; }

# The map first: with no path left it would keep the I/O of whoever looks at it, and a LUN with I/O in flight
# is not let go.
wait_until 'the map is removed' no_map
for hba in a b host_b; do
    echo 1 >"/sys/bus/scsi/devices/$(scsi_address $hba)/delete"
    wait_until "$hba has lost the LUN" gone $hba
    rm "$(tpg_of $hba)/lun/lun_0/lun"
done
rmdir "$target/core/fileio_0/map"
rm -f /etc/target/pr/aptpl_* /var/target/pr/aptpl_*
udevadm settle
make_lun map 1ab00001
for hba in a b host_b; do
    show_lun map $hba
done
