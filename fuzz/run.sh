#!/bin/bash
# Runs fuzz targets for RUNS executions each (default 1000000), two at a time,
# from the seeds and what earlier runs found, and prints one line for each. Needs
# cargo-fuzz, but no nightly compiler: the coverage flags are let through on stable.
#
#     fuzz/run.sh [RUNS [TARGET...]]
set -euo pipefail
cd "$(dirname "$0")"
runs=${1:-1000000}
(($# == 0)) || shift
targets=("$@")
((${#targets[@]})) || targets=(session codec pr_data config import)
export RUSTC_BOOTSTRAP=1
cargo fuzz build -s none

# Long scripts of a session find no more than short ones, and take their time.
length_of() { case $1 in session) echo 128 ;; *) echo 4096 ;; esac; }

run() {
    local target=$1 log corpus=corpus/$1 started=$SECONDS found=nothing status=0
    mkdir -p "$corpus"
    log=$corpus.log
    if ! cargo fuzz run -s none "$target" "$corpus" "seeds/$target" -- -runs="$runs" \
        -max_len="$(length_of "$target")" -timeout=60 -print_final_stats=1 >"$log" 2>&1; then
        status=1
        found="$(grep -aE -A1 'panicked at|ERROR: libFuzzer' "$log" | head -2 | tr '\n' ' ')(fuzz/$log)"
    fi
    echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") runs in $((SECONDS - started)) s," \
        "$(grep -ao 'cov: [0-9]*' "$log" | tail -1), found: $found"
    return $status
}

failed=0
running=()
for target in "${targets[@]}"; do
    run "$target" &
    running+=($!)
    if ((${#running[@]} == 2)); then
        wait -n || failed=1
        for index in "${!running[@]}"; do
            kill -0 "${running[index]}" 2>/dev/null || unset "running[index]"
        done
        running=("${running[@]}")
    fi
done
for pid in "${running[@]}"; do
    wait "$pid" || failed=1
done
exit $failed
