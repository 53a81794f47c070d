#!/bin/bash
# Build the packages of reservd and check them.
#
#   packages/build.sh [--fast]      target/packages/reservd_*.deb and reservd-*.rpm
#
# With --fast they are compressed less, and not checked.
set -euo pipefail
cd "$(dirname "$0")/.."

fast=()
[[ ${1:-} != --fast ]] || fast=(--fast)
out=target/packages
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

cargo build --release --bins
rm -rf "$out"
mkdir -p "$out"

# Debian's form of a changelog, about the package; CHANGELOG.md is about the program.
cat >"$out/changelog" <<CHANGELOG
reservd ($version-1) unstable; urgency=medium

  * Version $version: see changelog.gz.

 -- reservd maintainers <maintainers@reservd.invalid>  $(git log -1 --format=%cD)
CHANGELOG
reservctl=${CARGO_TARGET_DIR:-target}/release/reservctl
"$reservctl" generate man "$out/man" >/dev/null
mkdir "$out/completions"
for shell in bash zsh fish; do
    "$reservctl" completions $shell >"$out/completions/reservctl.$shell"
done

SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
cargo deb --quiet --no-build "${fast[@]}" --output "$out/"
cargo generate-rpm --output "$out/"
rm -r "$out"/{changelog,man,completions}
if ((!${#fast[@]})); then
    lintian --allow-root --fail-on warning --tag-display-limit 0 "$out"/*.deb
    rpm --checksig "$out"/*.rpm
fi
ls -l "$out"
