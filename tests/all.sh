#!/usr/bin/env bash
# Checks everything there is to check: form, lints, docs, then every test of the workspace. Ends with cargo's own
# summary lines. From a clean clone it takes well under 45 minutes on two cores; with a warm target/ mostly the tests.
#
# As root on Debian or Ubuntu it installs the few tools that the tests need; otherwise it says what is missing.
# More rounds of the long stories: LASTSEAT_ROUNDS=20 tests/all.sh (see tests/support/settings.rs for all settings).
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '[%s +%4ds] %s\n' "$(date -u +%H:%M:%S)" "$SECONDS" "$*"; }
trap 'code=$?; [ $code -eq 0 ] || step "FAILED (exit $code): $BASH_COMMAND" >&2' EXIT

# --- tools ----------------------------------------------------------------------------------------------------------
# program → Debian package. libfaketime is a library: looked for as a file.
declare -A package_of=(
    [mkfs.ext4]=e2fsprogs [losetup]=mount [setpriv]=util-linux [ip]=iproute2 [nft]=nftables
    [faketime]=faketime [python3]=python3 [curl]=curl [cc]=gcc [node]=nodejs
    [chromium]=chromium [chromedriver]=chromium-driver
)

find_libfaketime() {
    local found
    for found in /usr/lib/*/faketime/libfaketime.so.1 /usr/lib/faketime/libfaketime.so.1 /usr/lib64/faketime/libfaketime.so.1; do
        [ -e "$found" ] && { printf '%s' "$found"; return 0; }
    done
    return 1
}

missing_packages() {
    local program
    for program in "${!package_of[@]}"; do
        PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null || printf '%s\n' "${package_of[$program]}"
    done
    find_libfaketime >/dev/null || printf 'libfaketime\n'
}

mapfile -t missing < <(missing_packages | sort -u)
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        step "installing ${missing[*]}"
        log=$(mktemp)
        if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } \
            >"$log" 2>&1 </dev/null; then
            cat "$log" >&2
            step "apt-get could not install ${missing[*]}; install them by hand and start again" >&2
            rm -f "$log"
            exit 1
        fi
        rm -f "$log"
    else
        step "missing: ${missing[*]}. Install them (as root: apt-get install ${missing[*]}), or run this as root." >&2
        exit 1
    fi
fi
command -v cargo >/dev/null || { step "missing: cargo. Install Rust from https://rustup.rs" >&2; exit 1; }

# --- checks ---------------------------------------------------------------------------------------------------------
step "form: cargo fmt"
cargo fmt --all -- --check

step "lints: cargo clippy"
cargo clippy --workspace --all-targets --locked --quiet -- -D warnings

step "docs: cargo doc, warnings are errors"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet

if command -v cargo-deny >/dev/null; then
    step "dependencies: cargo deny"
    cargo deny --workspace check
else
    step "dependencies: skipped, cargo-deny is not installed (cargo install cargo-deny)"
fi

step "console: its modules"
node --test src/api/console/tests/

# Built first and apart, so that the time of the tests is the time of the tests.
step "build of all tests"
cargo test --workspace --locked --quiet --no-run

step "tests"
cargo test --workspace --locked --no-fail-fast
