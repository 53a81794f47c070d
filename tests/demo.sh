#!/bin/bash
# Show reservd at work on simulated logical units: two hosts with two paths each, one fences the other. Runs
# anywhere, unprivileged, with a bus of its own. Installs what the build needs; stops what it started.
set -euo pipefail
cd "$(dirname "$0")/.."

tests/setup.sh build >&2
cargo build --release --bins >&2
PATH=$PWD/target/release:$PATH

folder=$(mktemp -d)
sed "s|/tmp/reservd-demo|$folder|" conf/demo.toml >"$folder/demo.toml"
cat >"$folder/bus.conf" <<EOF
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path=$folder/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
  </policy>
</busconfig>
EOF
export RESERVD_BUS_ADDRESS="unix:path=$folder/bus"
dbus-daemon --config-file="$folder/bus.conf" --nofork 2>"$folder/bus.log" &
pids=($!)
trap 'kill "${pids[@]}"; wait || true; rm -rf "$folder"' EXIT
for _ in {1..100}; do
    [[ -S $folder/bus ]] && break
    sleep 0.1
done
reservd --config "$folder/demo.toml" 2>"$folder/log" &
pids+=($!)

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

# status WORDS: print it once every one of these is in it.
status() {
    local seen word
    for _ in {1..100}; do
        seen=$(reservctl status 2>&1) || true
        for word; do [[ $seen == *"$word"* ]] || continue 2; done
        break
    done
    # shellcheck disable=SC2016 # a prompt
    printf '$ reservctl status\n%s\n' "$seen"
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
status 'host-a  fenced  0xa1  WERO  0xb1' 'host-b  ok      0xb1  WERO  0xb1'
show clear "$b" --key 0xb1
show keys "$b"
