#!/bin/sh
# Runs every fuzz target for RUNS executions (default 1000000) from the seeds
# and what earlier runs found, and prints one line for each. Needs cargo-fuzz,
# but no nightly compiler: the coverage flags are let through on stable.
#
#     fuzz/run.sh [RUNS [TARGET...]]
set -eu
cd "$(dirname "$0")"
runs=${1:-1000000}
[ $# -eq 0 ] || shift
export RUSTC_BOOTSTRAP=1
failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for target in ${*:-codec session pr_data config}; do
    mkdir -p "corpus/$target"
    if cargo fuzz run -s none "$target" "corpus/$target" "seeds/$target" -- \
        -runs="$runs" -timeout=60 -print_final_stats=1 >"$log" 2>&1; then
        found=nothing
    else
        failed=1
        found=$(grep -aE -A1 'panicked at|ERROR: libFuzzer' "$log" | head -2 | tr '\n' ' ')
        cp "$log" "corpus/$target.log"
        found="${found:-see} (fuzz/corpus/$target.log)"
    fi
    done=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    speed=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
    edges=$(grep -ao 'cov: [0-9]*' "$log" | tail -1)
    echo "$target: ${done:-0} runs, ${speed:-0}/s, ${edges:-no cov}, found: $found"
done
exit $failed
