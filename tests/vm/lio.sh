# The kernel's SCSI target through configfs, as the other scripts here use it.  Sourced, never run.
# shellcheck shell=bash

target=/sys/kernel/config/target

# An HBA is known by a short name; its number makes its target and initiator names.
hba_number() {
    case $1 in
        a) echo 1 ;;
        b) echo 2 ;;
        host_b) echo 3 ;;
        plain) echo 4 ;;
        plain_b) echo 5 ;;
        power_a) echo 6 ;;
        power_b) echo 7 ;;
        power_host_b) echo 8 ;;
        registrant*) echo $((100 + ${1#registrant})) ;;
        *) echo "no HBA is called $1" >&2; return 1 ;;
    esac
}
hba_of() { printf '%s/loopback/naa.5001405%09x\n' "$target" "$(hba_number "$1")"; }
tpg_of() { echo "$(hba_of "$1")/tpgt_1"; }
nexus_of() { printf 'naa.6001405%09x\n' "$(hba_number "$1")"; }

# host:channel:target:lun; the target number is that of the portal group.
scsi_address() { echo "$(sed 's/:[0-9]*$//' "$(tpg_of "$1")/address"):1:0"; }

# The disk that an HBA shows, whatever the kernel called it.
disk_of() { echo "/dev/$(ls "/sys/bus/scsi/devices/$(scsi_address "$1")/block")"; }

# make_lun NAME SERIAL: a LUN on a sparse file.  The target makes the WWID of the hexadecimal digits in SERIAL.
make_lun() {
    local core=$target/core/fileio_0/$1 file=/var/lib/lab-$1.img size=$((64 << 20))
    mkdir -p "$core"
    truncate -s $size "$file"
    echo "fd_dev_name=$file,fd_dev_size=$size" >"$core/control"
    echo "$2" >"$core/wwn/vpd_unit_serial"
    echo 1 >"$core/enable"
}

make_hba() {
    mkdir -p "$(tpg_of "$1")"
    nexus_of "$1" >"$(tpg_of "$1")/nexus"
}

# show_lun LUN HBA: the disk appears; wait for its node.
show_lun() {
    mkdir -p "$(tpg_of "$2")/lun/lun_0"
    ln -s "$target/core/fileio_0/$1" "$(tpg_of "$2")/lun/lun_0/lun"
    wait_until "$2 shows $1" has_disk "$2"
}
has_disk() { compgen -G "/sys/bus/scsi/devices/$(scsi_address "$1")/block/sd*" >/dev/null && [[ -b $(disk_of "$1") ]]; }

# paths_on FILE HBA...: disks there are paths of a map.  On all other HBAs they belong to "other hosts", by the
# first rule, which lab.sh writes; FILE is a name that comes after it.
paths_on() {
    local file=/run/udev/rules.d/$1.rules hba
    shift
    for hba; do
        echo "SUBSYSTEM==\"block\", KERNELS==\"$(scsi_address "$hba")\", ENV{FOREIGN_HBA}=\"\""
    done >"$file"
    udevadm control --reload
}

# describe HBA:DISK:SUFFIX...: what lab.env says of HBAs: the disk, and TPG_ and NEXUS_ with the suffix.
describe() {
    local hba disk suffix
    for hba; do
        IFS=: read -r hba disk suffix <<<"$hba"
        echo "$disk=$(disk_of "$hba")"
        echo "TPG_$suffix=$(tpg_of "$hba")"
        echo "NEXUS_$suffix=$(nexus_of "$hba")"
    done
}

# Undo make_hba and show_lun.
remove_hba() {
    local tpg
    tpg=$(tpg_of "$1")
    rm -f "$tpg/lun/lun_0/lun"
    rmdir "$tpg/lun/lun_0" "$tpg" "${tpg%/*}"
}

# wait_until WHAT COMMAND...: poll for up to a minute.
wait_until() {
    local what=$1 deadline=$((SECONDS + 60))
    shift
    until "$@"; do
        if ((SECONDS >= deadline)); then
            echo "lab: gave up waiting: $what" >&2
            return 1
        fi
        sleep 0.1
    done
}
