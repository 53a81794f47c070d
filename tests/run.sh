#!/bin/bash
# Every check of this repository, on a Debian 12 machine: format, lints, tests without and with a kernel, fuzzing,
# and the commands of README.md. Installs what is missing. Ends non-zero at the first failure.
#
# The virtual machine is Debian 12's. The same tests run with the kernel, multipath-tools and QEMU of Debian 13 and of
# sid by `tests/vm/test.sh --suite trixie` and `--suite sid`; they are not part of this, for each takes as long again and
# sid changes every day.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s (%s s)\n' "$*" "$SECONDS"; }

step "what the tests need"
tests/setup.sh test

step "format, lints, shell scripts"
cargo fmt --all --check
cargo clippy --all-targets -- -D warnings
cargo clippy --test vm --test vm_bench -- -D warnings
git ls-files -z '*.sh' .ci/run packages/deb/p* | xargs -0 shellcheck -x --source-path=SCRIPTDIR

step "tests that run anywhere"
cargo build --bins
cargo nextest run --no-fail-fast -E 'not (test(plan::tests::search) + test(hundreds_of_restarts))'
for file in conf/*.toml conf/examples/*.toml; do
    target/debug/reservd --config "$file" --check
done

step "every order of events around a repair (states explored)"
cargo nextest run --no-capture -E 'test(plan::tests::search)'

step "restarts of the daemon under the load of two QEMUs (what was answered)"
cargo nextest run --no-capture -E 'test(hundreds_of_restarts)'

step "the commands of README.md"
# shellcheck disable=SC2016 # backquotes of Markdown
diff <(sed -n '/^```console$/,/^```$/p' README.md | sed '1d;$d') <(tests/demo.sh)

step "fuzzing"
fuzz/run.sh

step "the packages"
packages/build.sh

step "a thousand units on the bus, as they are built for use (what that costs)"
RESERVD_MEASURED=$(realpath "${CARGO_TARGET_DIR:-target}/release/reservd") \
    cargo nextest run --no-capture -E 'test(a_thousand_units_are_seen_at_once)'

step "the virtual machine"
tests/vm/test.sh
step "done"
