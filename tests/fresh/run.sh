#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The promise of the README, tried: on a minimal Debian 12 with git and make, `make demo` and `make test` work.
#
#   tests/fresh/run.sh [COMMAND...]     as root; without commands: "make demo" "make test"
#
# Makes the root with debootstrap from the mirror that this machine itself is set up with, clones the committed
# state of this repository into it, and runs each command there. Everything is unmounted and removed on every
# exit path; KEEP=1 keeps the folder for a look.
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
[ "$(id -u)" = 0 ] || { echo "fresh: needs root for debootstrap and chroot; run: sudo $0" >&2; exit 1; }
"$here/deploy/setup" fresh || exit 1
[ $# -gt 0 ] || set -- "make demo" "make test"

suite=bookworm
root=$(mktemp -d "${TMPDIR:-/var/tmp}/lineshaft-fresh-XXXXXX") && chmod 755 "$root" || exit 1
passed=0 failed=0

finish() {
    local pid
    # What a command left running in there would keep the mounts busy; only processes with this root are ended.
    for pid in /proc/[0-9]*; do
        [ "$(readlink "$pid/root" 2>/dev/null)" != "$root" ] || kill -9 "${pid#/proc/}" 2>/dev/null
    done
    for folder in dev/shm dev/pts proc; do
        ! mountpoint -q "$root/$folder" || umount "$root/$folder" || umount -l "$root/$folder"
    done
    if grep -q " $root/" /proc/mounts; then
        echo "fresh: $root still has mounts, it stays" >&2
    elif [ -z "${KEEP-}" ]; then
        rm -rf --one-file-system "$root"
    else
        echo "fresh: kept $root" >&2
    fi
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The first plain mirror of this machine's apt sources that has the suite, in either of their two formats.
mirror_of_this_machine() {
    local lists=(/etc/apt/sources.list /etc/apt/sources.list.d/*)
    cat "${lists[@]}" 2>/dev/null | awk -v suite=$suite -v plain='^(https?|file):' '
        /^[ \t]*#/ { next }
        /^deb / { sub(/\[[^]]*\] */, ""); if ($3 == suite && $2 ~ plain) { print $2; exit } }
        /^URIs:/ { uri = $2 ~ plain ? $2 : "" }
        /^Suites:/ { for (i = 2; i <= NF; i++) if ($i == suite && uri != "") { print uri; exit } }'
}

step() { # NAME COMMAND...
    local name=$1 started=$SECONDS
    shift
    echo "==== fresh: $name"
    if "$@" </dev/null; then
        passed=$((passed + 1))
        echo "==== fresh: $name: fine, $((SECONDS - started)) s"
    else
        failed=$((failed + 1))
        echo "==== fresh: $name: FAILED, $((SECONDS - started)) s"
        return 1
    fi
}

inside() {
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb \
        chroot "$root" /bin/sh -c "$1"
}

make_root() {
    local mirror
    mirror=$(mirror_of_this_machine)
    [ -n "$mirror" ] || { echo "fresh: no apt source of this machine has $suite" >&2; return 1; }
    debootstrap --variant=minbase $suite "$root" "$mirror" >"$root.log" 2>&1 ||
        { tail -n 5 "$root.log" >&2; return 1; }
    rm -f "$root.log"
    # Names and package servers are reached as this machine reaches them, with the authorities it was told to trust.
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
    mkdir -p "$root/usr/local/share/ca-certificates"
    cp -R /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/"
    mkdir -p "$root/dev/shm" "$root/dev/pts"
    mount -t proc proc "$root/proc" && mount -t tmpfs shm "$root/dev/shm" && mount -t devpts pts "$root/dev/pts" &&
        inside "DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends git make >/dev/null"
}

clone() {
    git -C "$here" bundle create "$root/root/lineshaft.bundle" HEAD 2>/dev/null &&
        inside "cd /root && git -c advice.detachedHead=false clone -q lineshaft.bundle lineshaft"
}

step "a minimal $suite with git and make" make_root && step "a clone" clone || exit 1
for command in "$@"; do
    step "$command" inside "cd /root/lineshaft && $command"
    step "$command leaves nothing running" test -z "$(readlink /proc/[0-9]*/root 2>/dev/null | grep -Fx "$root")"
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
