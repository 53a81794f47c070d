#!/bin/bash
# Boot a virtual machine, run a command in it, and exit with the command's status.
#
#   tests/vm/boot.sh --payload DIR --run COMMAND [--suite SUITE] [--timeout SECONDS] [--results DIR]
#
# Inside, DIR is /payload (read-only, and the working directory), the scripts beside this one are /rig,
# and what COMMAND leaves in /results comes back to the --results directory.  COMMAND is a bash script;
# its output appears here as it is written.  Whatever else happens (no boot, panic, time-out, no status)
# is a failure, and shows the end of the machine's console.
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

payload='' command='' suite=bookworm timeout=900 results=''
while (($#)); do
    [[ $# -ge 2 ]] || die "$1 needs a value"
    case $1 in
        --payload) payload=$2 ;;
        --run) command=$2 ;;
        --suite) suite=$2 ;;
        --timeout) timeout=$2 ;;
        --results) results=$2 ;;
        *) die "unknown option $1" ;;
    esac
    shift 2
done
[[ -d $payload ]] || die "--payload: not a directory: '$payload'"
[[ -n $command ]] || die "--run is missing"

need qemu-system-x86_64=qemu-system-x86 mke2fs=e2fsprogs
image=$("$here/image.sh" "$suite")

work=$(mktemp -d "$cache/boot.XXXXXX")
qemu=''
# shellcheck disable=SC2317 # called by the trap
finish() {
    [[ -z $qemu ]] || kill -KILL "$qemu" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

megabytes=$(($(du -sm "$payload" | cut -f1) * 5 / 4 + 16))
mke2fs -q -t ext4 -O ^has_journal -d "$payload" "$work/payload" "${megabytes}M" >/dev/null
# The transfer drive is a tar archive both ways: the scripts and the command in, status and results out.
mkdir "$work/rig"
cp "$here"/*.sh "$work/rig/"
printf '%s\n' "$command" >"$work/rig/command"
tar -cf "$work/transfer" -C "$work/rig" .
truncate -s 1G "$work/transfer"
touch "$work/output" "$work/console"

drive() { # drive FILE OPTIONS
    printf 'if=virtio,format=raw,cache=unsafe,file=%s,%s' "${1//,/,,}" "$2"
}
start_machine() {
    qemu-system-x86_64 -accel tcg,thread=multi -smp 2 -cpu max -m 3G \
        -nodefaults -no-user-config -display none -no-reboot \
        -kernel "$image/vmlinux" -initrd "$image/initrd" \
        -append "console=ttyS0 panic=-1 quiet mitigations=off nokaslr no_timer_check audit=0 systemd.show_status=no" \
        -drive "$(drive "$image/root.ext4" snapshot=on)" \
        -drive "$(drive "$work/payload" readonly=on)" \
        -drive "$(drive "$work/transfer" snapshot=off)" \
        -chardev "file,id=console,path=$work/console" -serial chardev:console \
        -chardev "file,id=output,path=$work/output" -device virtio-serial -device virtserialport,chardev=output \
        -object rng-random,id=rng,filename=/dev/urandom -device virtio-rng-pci,rng=rng \
        </dev/null >"$work/qemu" 2>&1 9>&- &
    qemu=$!
}
running() { kill -0 "$qemu" 2>/dev/null; }
# run.sh says so on the console when it starts.
is_up() { grep -q 'rig: up' "$work/console"; }

failure=''
deadline=$((SECONDS + timeout))
# About one start in twenty of sid's kernel (7.2, under QEMU 7.2) stops before it has printed anything, and spins.
for attempt in first last; do
    patience=$((SECONDS + ${VM_BOOT_PATIENCE:-180}))
    start_machine
    until is_up || ! running || ((SECONDS >= patience)); do sleep 0.2; done
    if is_up || ! running || [[ $attempt == last ]]; then break; fi
    say "no sign of life within ${VM_BOOT_PATIENCE:-180} s; started once more"
    kill -KILL "$qemu"
    wait "$qemu" 2>/dev/null || true
done
if running && ! is_up; then
    failure="it does not boot"
    kill -KILL "$qemu"
fi
tail -n +1 -f --pid="$qemu" -s 0.2 "$work/output" &
tail=$!

while running; do
    if ((SECONDS >= deadline)); then
        failure="no end after $timeout s"
        kill -KILL "$qemu"
        break
    fi
    sleep 0.2
done
wait "$qemu" 2>/dev/null || failure=${failure:-"qemu exited with status $?"}
qemu=''
wait "$tail" || true

if [[ -z $failure ]]; then
    mkdir "$work/back"
    tar -xf "$work/transfer" -C "$work/back" 2>/dev/null || true
    status=$(cat "$work/back/status" 2>/dev/null) || failure="the machine stopped without an exit status"
fi
if [[ -n $failure ]]; then
    say "$failure; the end of its console:"
    { cat "$work/qemu"; tail -n 60 "$work/console"; } >&2
    exit 1
fi
if [[ -n $results ]]; then
    mkdir -p "$results"
    cp -r "$work/back/results/." "$results/"
fi
say "ended with status $status after $((SECONDS - deadline + timeout)) s"
exit "$status"
