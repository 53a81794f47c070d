#!/bin/bash
# Runs INSIDE the machine: boot a guest in QEMU (under plain emulation again) whose disk is the multipath map,
# passed through with its persistent reservation commands going to the helper at SOCKET.  Shows the guest's
# console; fails unless the guest ran to its end and all its commands succeeded.
#
#   /rig/guest.sh SOCKET [DEVICE]
set -euo pipefail

socket=${1:?path of the helper socket}
device=${2:-/dev/mapper/mpatha}
lib=/usr/lib/reservd-test
console=$(mktemp)

timeout --kill-after=5 "${GUEST_TIMEOUT:-300}" qemu-system-x86_64 -M pc -accel tcg -cpu qemu64 -m 160M \
    -nodefaults -no-user-config -display none -no-reboot \
    -kernel $lib/vmlinux -initrd $lib/l2.cpio \
    -append "console=ttyS0 quiet panic=-1 lsm=none cryptomgr.notests mitigations=off nokaslr no_timer_check audit=0 rdinit=/init" \
    -chardev stdio,id=console,signal=off -serial chardev:console \
    -object "pr-manager-helper,id=pr0,path=$socket" \
    -blockdev "driver=host_device,node-name=disk,filename=$device,pr-manager=pr0,cache.direct=on" \
    -device virtio-scsi-pci -device scsi-block,drive=disk </dev/null | tr -d '\r' | tee "$console" || {
    echo "guest.sh: qemu failed or did not end in time" >&2
    exit 1
}
grep -q '^guest done' "$console" || { echo "guest.sh: the guest did not finish" >&2; exit 1; }
! grep -E '^rc [^0]' "$console" || { echo "guest.sh: commands failed" >&2; exit 1; }
