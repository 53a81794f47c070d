#!/bin/bash
# Runs INSIDE the machine: two LUNs on the kernel's SCSI target (LIO), each on its own file, seen through
# emulated host bus adapters that are all in this machine but are separate initiators to the target:
#
#   HBA      LUN    plays                                   in /run/lab.env
#   a, b     map    the two paths of /dev/mapper/mpatha     MAP, PATH_A, PATH_B
#   host_b   map    another host                            HOST_B
#   plain    plain  this host's only path to a plain disk   PLAIN
#   plain_b  plain  another host                            PLAIN_HOST_B
#
# /run/lab.env also has, for each HBA, TPG_* (configfs; echo offline >$TPG_A/transport_status pulls the
# cable) and NEXUS_* (the initiator name that READ FULL STATUS shows).
set -euo pipefail
# shellcheck source=lio.sh
source "$(dirname "${BASH_SOURCE[0]}")/lio.sh"

modprobe -a dm-multipath dm-service-time tcm_loop target_core_file sd_mod sg
mkdir -p /etc/target/pr /var/target/pr # without them the target refuses REGISTER with NOT READY

# All disks belong to "other hosts", but for those of the HBAs that paths_on names: they are marked by a udev
# property that multipath.conf blacklists.  The first property in alphabetical order that any list mentions decides,
# so its name has to come before the ID_WWN that multipathd accepts.
mkdir -p /run/udev/rules.d
echo 'SUBSYSTEM=="block", KERNEL=="sd*", ENV{FOREIGN_HBA}="1"' >/run/udev/rules.d/09-foreign.rules

make_lun map 1ab00001
make_lun plain 1ab00002
for hba in a b host_b plain plain_b; do
    make_hba $hba
done
paths_on 10-lab a b
for hba in a b host_b; do
    show_lun map $hba
done
for hba in plain plain_b; do
    show_lun plain $hba
done
udevadm settle

cat >/etc/multipath.conf <<'CONF'
defaults {
    user_friendly_names yes
    find_multipaths no
    polling_interval 2
    max_polling_interval 2
    no_path_retry 5
    reservation_key file
}
overrides {
    path_checker tur
}
blacklist {
    devnode "^vd"
    property "^FOREIGN_HBA$"
}
CONF
systemctl start multipathd.service

both_paths_active() {
    [[ $(dmsetup status --target multipath mpatha 2>/dev/null | grep -oE '[0-9]+:[0-9]+ A' | wc -l) == 2 ]]
}
wait_until 'mpatha has two active paths' both_paths_active
udevadm settle

{
    echo MAP=/dev/mapper/mpatha
    describe a:PATH_A:A b:PATH_B:B host_b:HOST_B:HOST_B plain:PLAIN:PLAIN plain_b:PLAIN_HOST_B:PLAIN_HOST_B
} >/run/lab.env
