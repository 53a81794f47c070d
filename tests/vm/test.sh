#!/bin/bash
# Build reservd and its scenarios, boot the virtual machine once, run them all in it, and show their summary.
#
#   tests/vm/test.sh [--suite bookworm|trixie|sid] [FILTER...]      results land in target/vm/results/SUITE
set -euo pipefail
# shellcheck source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$here/../.."

suite=bookworm
if [[ ${1:-} == --suite ]]; then
    suite=$2
    shift 2
fi

packages/build.sh --fast >/dev/null
scenarios=$(cargo test --test vm --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\/vm-[^"]*\)".*/\1/p')
[[ -x $scenarios ]] || die "the scenarios were not built"

payload=$(mktemp -d)
trap 'rm -rf "$payload"' EXIT
cp "${CARGO_TARGET_DIR:-target}"/release/{reservd,reservctl,reservd-pr-helper} "$payload/"
cp "$scenarios" "$payload/scenarios"
cp -r README.md dbus docs "$payload/"
cp target/packages/reservd_*.deb "$payload/reservd.deb"
# As if it were the previous one.
dpkg-deb --raw-extract "$payload/reservd.deb" "$payload/previous"
sed -i 's/^Version: .*/Version: 0.0.1-1/' "$payload/previous/DEBIAN/control"
dpkg-deb --root-owner-group -Znone --build "$payload/previous" "$payload/reservd-previous.deb" >/dev/null
rm -r "$payload/previous"
"$here/boot.sh" --suite "$suite" --payload "$payload" --timeout 3000 --results "target/vm/results/$suite" \
    --run "/rig/lab.sh && dpkg --install reservd-previous.deb && systemctl is-active reservd.socket reservd-control.socket reservd.service && exec ./scenarios --test-threads=1 --show-output $*"
