#!/bin/bash
# Runs INSIDE the machine, and inside the sandbox of reservd.service (scenarios/sandbox.rs): starts a daemon for
# each line that comes, and answers with its process id.  To have systemd start each would take ten times as long.
set -euo pipefail

# Open for both, so that neither end is ever closed; for the daemons they are.
exec 3<>/run/nursery.orders 4<>/run/nursery.pids
while read -r -u 3 _; do
    /payload/reservd --config /run/reservd.toml -v </dev/null 3>&- 4>&- &
    echo $! >&4
done
