#!/bin/bash
# Round trips of two helpers over a disk that costs nothing: READ KEYS against a file that tests/shim/shim.c passes off
# as a disk. Runs alternate between the helpers, so that a busy moment of the machine hits both; medians are printed.
#
#   benches/roundtrip_vs_qemu.sh [OURS [OLD]]      ROUNDS=5 REQUESTS=20000 CONNECTIONS="1 8 64 256"
set -euo pipefail
cd "$(dirname "$0")/.."

ours=${1:-${CARGO_TARGET_DIR:-target}/release/reservd-pr-helper}
old=${2:-/usr/bin/qemu-pr-helper}
rounds=${ROUNDS:-5}
requests=${REQUESTS:-20000}
for program in "$ours" "$old"; do
    [ -x "$program" ] || { echo "no such program: $program" >&2; exit 1; }
done

lab=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait; rm -rf "$lab"' EXIT
cc -O2 -Wall -shared -fPIC -o "$lab/shim.so" tests/shim/shim.c
cc -O2 -Wall -o "$lab/bench" benches/helper_bench.c
ulimit -n 4096

# A whole disk 8:240, as sysfs would show it.
touch "$lab/disk"
block=$lab/sys/devices/host9/sdzz/block/sdzz
mkdir -p "$block" "$lab/sys/dev/block" "$lab/state"
ln -s ../.. "$block/device"
ln -s ../../devices/host9/sdzz/block/sdzz "$lab/sys/dev/block/8:240"
echo 8:240 >"$block/dev"
for attribute in type=0 wwid=naa.60014050000000000000000000000001 state=running vendor=RESERVD "model=SHIM DISK"; do
    echo "${attribute#*=}" >"$block/device/${attribute%%=*}"
done

start() { # NAME PROGRAM
    env LD_PRELOAD="$lab/shim.so" SHIM_DEVICES="$(stat -c %i "$lab/disk")=b8:240" \
        RESERVD_SYSFS_ROOT="$lab/sys" STATE_DIRECTORY="$lab/state" \
        "$2" -k "$lab/$1" >"$lab/$1.out" 2>&1 </dev/null &
    pids+=($!)
    printf -v "pid_$1" %d $!
    for _ in {1..200}; do
        [ -S "$lab/$1" ] && return
        sleep 0.05
    done
    echo "$2 does not come up:" >&2
    cat "$lab/$1.out" >&2
    exit 1
}
start old "$old"
start ours "$ours"

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
column() { awk -v n="$2" '{ print $n }' "$1" | median; }
best() { awk '{ print $1 }' "$1" | sort -n | tail -1; }
memory() { awk '/^VmRSS/ { printf "%.1f MB", $2 / 1024 }' "/proc/$1/status"; }

for connections in ${CONNECTIONS:-1 8 64 256}; do
    for ((round = 0; round < rounds; round++)); do
        order=(old ours)
        ((round % 2)) && order=(ours old)
        for name in "${order[@]}"; do
            "$lab/bench" "$lab/$name" "$lab/disk" "$connections" $((requests / connections)) >>"$lab/$name.$connections"
        done
    done
done

echo "$(nproc) CPUs, $rounds rounds of $requests READ KEYS for each line; median of the rounds"
echo
echo "| connections | helper | requests/s | best round | p50 µs | p99 µs |"
echo "|---:|---|---:|---:|---:|---:|"
for connections in ${CONNECTIONS:-1 8 64 256}; do
    for name in old ours; do
        runs=$lab/$name.$connections
        echo "| $connections | ${!name##*/} | $(column "$runs" 1) | $(best "$runs") | $(column "$runs" 2) | $(column "$runs" 3) |"
    done
done
echo
# shellcheck disable=SC2154 # set by start, through printf -v
echo "Resident memory afterwards: ${old##*/} $(memory "$pid_old"), ${ours##*/} $(memory "$pid_ours")"
