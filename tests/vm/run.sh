#!/bin/bash
# Runs INSIDE the machine, as rig.service: mounts the payload, runs the command with its output going to
# boot.sh, and leaves the exit status and /results on the transfer drive.
set -euo pipefail

echo 'rig: up' >/dev/console # for boot.sh
mount -o ro /dev/vdb /payload
cd /payload
# Through a pipe, since the port can be opened only once and programs reopen /dev/stderr.
mkfifo /run/output
cat /run/output >/dev/vport0p1 &
writer=$!
status=0
bash /rig/command </dev/null >/run/output 2>&1 || status=$?

# A daemon the command left behind may hold the pipe open: wait for the writer, but not for ever.
for _ in {1..30}; do
    kill -0 $writer 2>/dev/null || break
    sleep 0.1
done
journalctl --quiet --no-pager --output=short-monotonic >/results/journal
mkdir -p /run/transfer
echo $status >/run/transfer/status
tar -cf /dev/vdc -C /run/transfer status -C / results
sync /dev/vdc
