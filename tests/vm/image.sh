#!/bin/bash
# Build the virtual machine image of one Debian suite, and print the directory it is in:
# root.ext4, vmlinux and initrd.  Cached under target/vm by what went into it.
#
#   tests/vm/image.sh [bookworm|trixie|sid]
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

suite=${1:-bookworm}
packages=(
    systemd-sysv udev dbus polkitd kmod procps iproute2 linux-image-amd64
    multipath-tools sg3-utils libiscsi-bin qemu-system-x86 qemu-system-common
    busybox-static python3-minimal
    libvirt-daemon-system libvirt-clients
)
# What neither machine ever loads or reads; leaving it out halves the image.
unwanted=(
    '/*/kernel/drivers/'{gpu,net,media,infiniband,iio,staging,bluetooth,hwmon,mtd,usb,input,video,isdn,mmc,platform,edac,ata}'/*'
    '/*/kernel/'{sound,net/wireless,net/mac80211,net/bluetooth,net/netfilter,fs/xfs,fs/btrfs,fs/ocfs2,fs/nfs,fs/smb,fs/ceph}'/*'
    '/usr/share/'{doc,man,locale,info,icons,help}'/*'
)
# Units that only cost boot time here.  multipathd is started by lab.sh, once it has a configuration.
masked=(
    getty.target systemd-random-seed.service systemd-update-utmp.service
    systemd-journal-flush.service systemd-rfkill.socket systemd-pcrphase.service
    systemd-pcrphase-sysinit.service systemd-pstore.service modprobe@drm.service modprobe@fuse.service
    dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer
    e2scrub_reap.service fstrim.timer motd-news.timer
)

key=$({ echo "$suite ${packages[*]}"; cat "${BASH_SOURCE[0]}" "$here"/initramfs/*; } | sha256sum | cut -c1-12)
image=$cache/$suite-$key
if [[ -e $image/root.ext4 ]]; then
    echo "$image"
    exit
fi

((EUID == 0)) || die "building an image needs root (mmdebstrap, device nodes)"
need mmdebstrap=mmdebstrap mke2fs=e2fsprogs cpio=cpio modprobe=kmod xz=xz-utils zstd=zstd
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
[[ -e $image/root.ext4 ]] && { echo "$image"; exit; }

started=$SECONDS
work=$(mktemp -d "$cache/build.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'say "$suite: failed at line $LINENO"' ERR
root=$work/root
mkdir "$work/image"

say "building $suite (a few minutes, once)"
# The Release files of the younger suites may be past their date on a mirror.
# INITRD=No: we bring our own, smaller and quicker, for every suite alike.
INITRD=No DEBIAN_FRONTEND=noninteractive mmdebstrap --quiet --variant=essential --format=directory \
    --aptopt='Acquire::Check-Valid-Until "false"' \
    --dpkgopt='force-unsafe-io' "${unwanted[@]/#/--dpkgopt=path-exclude=}" \
    --include="$(IFS=,; echo "${packages[*]}")" \
    "$suite" "$root" >&2

release=$(basename "$(echo "$root"/lib/modules/*)")

# extract_vmlinux BZIMAGE: the ELF kernel inside, which qemu starts directly (PVH): decompressing
# it under emulation, twice over in the nested guest, costs more than the rest of the kernel's start.
# The fields are those of the kernel's Documentation/arch/x86/boot.rst.
extract_vmlinux() {
    local sectors offset length
    sectors=$(od -An -tu1 -j $((0x1f1)) -N 1 "$1")
    offset=$(od -An -tu4 -j $((0x248)) -N 4 "$1")
    length=$(od -An -tu4 -j $((0x24c)) -N 4 "$1")
    # The last four bytes of the payload are the uncompressed size.
    dd if="$1" of="$work/payload" bs=1M iflag=skip_bytes,count_bytes status=none \
        skip=$(((sectors + 1) * 512 + offset)) count=$((length - 4))
    case $(head -c 4 "$work/payload" | od -An -tx1) in
        ' fd 37 7a 58') xz -dc "$work/payload" ;;
        ' 28 b5 2f fd') zstd -dc --long=31 "$work/payload" ;;
        *) die "unknown compression of $1" ;;
    esac
}

# initramfs INIT MODULE... [-- PROGRAM...]: a cpio on stdout with busybox, INIT as /init, the modules
# (and what they need) numbered in loading order under /modules, and the programs with their libraries.
initramfs() {
    local init=$1 tree module number=100 file
    shift
    tree=$(mktemp -d "$work/initramfs.XXXXXX")
    mkdir -p "$tree"/{bin,dev,proc,sys,modules,root}
    cp "$root/bin/busybox" "$tree/bin/"
    install -m 755 "$init" "$tree/init"
    while (($#)) && [[ $1 != -- ]]; do
        while read -r verb file _; do
            [[ $verb == insmod ]] || continue
            module=$(basename "${file%%.ko*}")
            compgen -G "$tree/modules/*-$module.ko" >/dev/null && continue
            number=$((number + 1))
            case $file in
                *.xz) xz -dc "$file" ;;
                *.zst) zstd -dc "$file" ;;
                *) cat "$file" ;;
            esac >"$tree/modules/$number-$module.ko"
        done < <(modprobe --dirname="$root" --set-version="$release" --show-depends "$1")
        shift
    done
    for program in "${@:2}"; do
        for file in "$program" $(chroot "$root" ldd "$program" | grep -o '/[^ ]*'); do
            install -D "$root$file" "$tree$file"
        done
    done
    (cd "$tree" && find . | cpio --quiet --create --format=newc)
}

say "making the kernels and initramfs images"
extract_vmlinux "$root/boot/vmlinuz-$release" >"$work/image/vmlinux"
initramfs "$here/initramfs/host-init" virtio_pci virtio_blk virtio_console ext4 >"$work/image/initrd"
lib=$root/usr/lib/reservd-test
mkdir -p "$lib"
initramfs "$here/initramfs/guest-init" virtio_pci virtio_scsi sd_mod sg -- /usr/bin/sg_persist >"$lib/l2.cpio"
cp "$work/image/vmlinux" "$lib/vmlinux"

say "configuring the root file system"
echo reservd-vm >"$root/etc/hostname"
printf '127.0.0.1 localhost reservd-vm\n' >"$root/etc/hosts"
echo 5eed5eed5eed5eed5eed5eed5eed5eed >"$root/etc/machine-id"
: >"$root/etc/fstab"
mkdir -p "$root"/{payload,results,rig} "$root/etc/systemd/journald.conf.d" "$root/etc/systemd/system.conf.d"
printf '[Journal]\nStorage=volatile\n' >"$root/etc/systemd/journald.conf.d/vm.conf"
printf '[Manager]\nDefaultTimeoutStartSec=180s\n' >"$root/etc/systemd/system.conf.d/vm.conf"
for unit in "${masked[@]}"; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
find "$root/etc/systemd/system" -name 'multipath*' -delete
# libvirt too is there for the scenarios that start it.
find "$root/etc/systemd/system" \( -name '*virt*' -o -name 'machines.target' -o -name 'logrotate.timer' \) -type l -delete
# The machine that cannot start has to end, not to wait for somebody at its console.
ln -sf /lib/systemd/system/poweroff.target "$root/etc/systemd/system/emergency.target"
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
cat >"$root/etc/systemd/system/rig.service" <<'UNIT'
[Unit]
Description=Run the command that boot.sh was given
After=multi-user.target
SuccessAction=poweroff-immediate
FailureAction=poweroff-immediate

[Service]
Environment=HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ExecStart=/bin/sh -c 'tar -xf /dev/vdc -C /rig && exec /rig/run.sh'
StandardOutput=journal+console
StandardError=journal+console
UNIT
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -sf ../rig.service "$root/etc/systemd/system/multi-user.target.wants/rig.service"

rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "${root:?}"/boot/*
megabytes=$(($(du -sm "$root" | cut -f1) * 5 / 4 + 512))
mke2fs -q -t ext4 -O ^has_journal -E lazy_itable_init=1,nodiscard -d "$root" "$work/image/root.ext4" "${megabytes}M" >/dev/null

rm -rf "$cache/$suite"-*
mv "$work/image" "$image"
say "built $suite in $((SECONDS - started)) s, $(du -sm "$image" | cut -f1) MB"
echo "$image"
