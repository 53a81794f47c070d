#!/bin/bash
# Show reservd at work on simulated logical units: two hosts with two paths each, one fences the other. Runs
# anywhere, unprivileged. Installs what the build needs; stops what it started.
set -euo pipefail
cd "$(dirname "$0")/.."

tests/setup.sh build >&2
cargo build --release --bins >&2
PATH=$PWD/target/release:$PATH

folder=$(mktemp -d)
sed "s|/tmp/reservd-demo|$folder|" conf/demo.toml >"$folder/demo.toml"
reservd --config "$folder/demo.toml" 2>"$folder/log" &
daemon=$!
trap 'kill $daemon; wait $daemon || true; rm -rf "$folder"' EXIT

alias_pr=(reservctl --socket "$folder/pr-helper.sock" pr)
for _ in {1..100}; do
    "${alias_pr[@]}" keys "$folder/lun0/host-a" >/dev/null 2>&1 && break
    sleep 0.1
done

# show COMMAND...: print it as one would type it, and run it.
show() {
    printf '$ reservctl pr'
    for word; do printf ' %s' "${word/#$folder\//}"; done
    printf '\n'
    "${alias_pr[@]}" "$@" 2>&1 || printf '(exit status %s)\n' $?
}
cd "$folder"
a=$folder/lun0/host-a b=$folder/lun0/host-b

show register "$a" 0xa1
show reserve "$a" --key 0xa1 --type WERO
show full-status "$a"
show register "$b" 0xb1
show preempt "$b" --key 0xb1 --victim 0xa1 --type WERO
show full-status "$b"
show reserve "$a" --key 0xa1 --type WERO
show clear "$b" --key 0xb1
show keys "$b"
