#!/bin/bash
# Print what commands cost on a multipath map in the virtual machine: reservd beside SG_IO, sg_persist and
# mpathpersist, from one boot; with "reaction", only how long a path that comes back waits for its registration.
# See tests/vm/bench.rs.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --release --bin reservd
bench=$(cargo test --release --test vm_bench --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\/vm_bench-[^"]*\)".*/\1/p')
payload=$(mktemp -d)
trap 'rm -rf "$payload"' EXIT
cp target/release/reservd "$payload/"
cp "$bench" "$payload/bench"
tests/vm/boot.sh --payload "$payload" --run "/rig/lab.sh && exec ./bench $*"
