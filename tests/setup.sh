#!/bin/bash
# Install what building and testing reservd needs on Debian 12, where it is missing.
#
#   tests/setup.sh build     the compiler's needs
#   tests/setup.sh test      everything tests/run.sh uses as well
set -euo pipefail

packages=(gcc libc6-dev linux-libc-dev libclang-dev libudev-dev pkg-config multipath-tools)
if [[ ${1:-build} == test ]]; then
    packages+=(
        qemu-system-common qemu-system-x86 mmdebstrap e2fsprogs cpio kmod xz-utils zstd
        clang g++ sg3-utils shellcheck python3 dbus systemd lintian rpm
    )
fi
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if ((${#missing[@]})); then
    sudo=()
    ((EUID == 0)) || sudo=(sudo)
    "${sudo[@]}" apt-get update -q
    DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -qy --no-install-recommends "${missing[@]}"
fi
command -v cargo >/dev/null || { echo "cargo is missing: install Rust 1.89 or newer (https://rustup.rs)" >&2; exit 1; }
if [[ ${1:-build} == test ]]; then
    cargo nextest --version >/dev/null 2>&1 || cargo install --locked cargo-nextest
    cargo fuzz --version >/dev/null 2>&1 || cargo install --locked --version 0.13.2 cargo-fuzz
    # has SUBCOMMAND VERSION
    has() { [[ $(cargo "$1" --version 2>/dev/null) == *"$2" ]]; }
    has deb 3.8.0 || cargo install --locked --version 3.8.0 cargo-deb
    has generate-rpm 0.21.1 || cargo install --locked --version 0.21.1 cargo-generate-rpm
fi
