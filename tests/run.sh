#!/usr/bin/env bash
# Runs all tests: unit, integration, and the live ones with a real Docker Engine, real compilers and a real rsyslog.
#
#   tests/run.sh [--unprivileged | --install] [-- ARGUMENTS OF CARGO TEST]
#
# As root it installs what is missing (Debian and Ubuntu, by apt), starts a dockerd of its own where none answers, and
# ends and removes all that it started. It touches no network but apt's and no rsyslog but its own.
# --unprivileged: unit tests and the integration tests that need no root; says which it leaves out.
# --install: installs what is missing and leaves it at that.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'tests/run.sh: %s\n' "$*" >&2; }

unprivileged=no install_only=no
while [ $# -gt 0 ]; do
    case $1 in
    --unprivileged) unprivileged=yes ;;
    --install) install_only=yes ;;
    --) shift; break ;;
    -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    *) say "unknown option $1 (--unprivileged, --install, or -- and arguments of cargo test)"; exit 64 ;;
    esac
    shift
done

command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
command -v cargo >/dev/null || { say "needs a Rust toolchain: no cargo in PATH"; exit 1; }

# All is built at once, on all cores. Doc tests first: the closing lines of this script are those of the tests that count.
tests() {
    cargo test --no-run "$@"
    cargo test --doc
    cargo test --no-fail-fast "$@"
}

# What starts a watcher, containers or servers lies in folders, what needs no root does not.
privileged=() free=()
for file in tests/*/main.rs; do privileged+=("$(basename "$(dirname "$file")")"); done
for file in tests/*.rs; do free+=(--test "$(basename "$file" .rs)"); done

if [ "$unprivileged" = yes ]; then
    say "left out, because they need root: ${privileged[*]}"
    tests --lib --bins "${free[@]}" "$@"
    exit
fi
if [ "$(id -u)" -ne 0 ]; then
    say "needs root for: ${privileged[*]}"
    say "run it as root, or with --unprivileged to leave these out"
    exit 77
fi

# --- What is missing --------------------------------------------------------------------------------------------------
# command:package of Debian and Ubuntu.
needed="dockerd:docker.io docker:docker-cli rsyslogd:rsyslog gcc:gcc g++:g++ make:make clang:clang tcc:tcc
go:golang-go javac:default-jdk-headless tar:tar ldd:libc-bin sed:sed setsid:util-linux expr:coreutils readelf:binutils"
missing() {
    local entry
    for entry in $needed; do
        command -v "${entry%%:*}" >/dev/null || printf '%s ' "${entry#*:}"
    done
    # gcc without the C library's headers compiles nothing.
    [ -e /usr/include/stdio.h ] || printf 'libc6-dev '
}
PATH=$PATH:/usr/sbin:/sbin
packages=$(missing)
if [ -n "$packages" ]; then
    if ! command -v apt-get >/dev/null; then
        say "install these (names as on Debian), then run this again: $packages"
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    say "apt-get install $packages"
    apt-get update -q >&2
    # shellcheck disable=SC2086 # a list of words
    apt-get install -y -q --no-install-recommends ${packages/docker-cli/} >&2
    # docker.io brings the command line with it on some releases; on others it is a package of its own.
    command -v docker >/dev/null || apt-get install -y -q --no-install-recommends docker-cli >&2
    packages=$(missing)
    [ -z "$packages" ] || { say "still missing after apt-get: $packages"; exit 1; }
fi
[ "$install_only" = no ] || exit 0

# --- Docker Engine ----------------------------------------------------------------------------------------------------
export CCWATCH_TEST_RUN=$$
# On a disk: overlay2 wants a filesystem with extended attributes below it, which an old tmpfs has not. Tests make their
# own directories below it too, and Docker and a test's other users must come through.
home=$(mktemp -d /var/tmp/ccwatch-tests.XXXXXX)
chmod 755 "$home"
mkdir "$home/tmp"
export TMPDIR=$home/tmp
dockerd=''

clean_up() {
    local status=$?
    trap - EXIT INT TERM
    set +e
    # Also what a killed test left behind, and only what this run made.
    local label="label=ccwatch.test=$CCWATCH_TEST_RUN" ids
    ids=$(docker ps -aq --filter "$label" 2>/dev/null) && [ -n "$ids" ] && docker rm -f -v $ids >/dev/null 2>&1
    ids=$(docker images -q --filter "$label" 2>/dev/null) && [ -n "$ids" ] && docker rmi -f $ids >/dev/null 2>&1
    if [ -n "$dockerd" ]; then
        kill "$dockerd" 2>/dev/null
        wait "$dockerd" 2>/dev/null
    fi
    # Deepest first: mounts of containers and tests that were killed.
    awk -v home="$home/" 'index($5, home) == 1 { print $5 }' /proc/self/mountinfo | sort -r |
        while IFS= read -r mount; do umount -l "$mount"; done
    rm -rf "$home"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if ! docker version >/dev/null 2>&1; then
    say "no Docker Engine answers: starting one in $home"
    if [ ! -e /sys/fs/cgroup/cgroup.controllers ] && ! grep -q ' cgroup ' /proc/self/mountinfo; then
        say "no cgroups are mounted: Docker cannot run here"
        exit 1
    fi
    echo '{}' >"$home/daemon.json"
    export DOCKER_HOST=unix://$home/docker.sock
    # Containers run without a network: neither bridge nor iptables are touched. A configuration of its own, because
    # the machine's may say the opposite. No terminal's Ctrl-C before the tests are done with it: a session of its own.
    setsid dockerd --config-file "$home/daemon.json" --data-root "$home/data" --exec-root "$home/exec" \
        --pidfile "$home/docker.pid" --host "$DOCKER_HOST" --bridge none --iptables=false --ip6tables=false \
        >"$home/dockerd.log" 2>&1 &
    dockerd=$!
    for _ in $(seq 300); do
        docker version >/dev/null 2>&1 && break
        if ! kill -0 "$dockerd" 2>/dev/null; then
            say "dockerd ended: $(tail -n 3 "$home/dockerd.log")"
            exit 1
        fi
        sleep 0.1
    done
    docker version >/dev/null 2>&1 || { say "dockerd does not answer: $(tail -n 3 "$home/dockerd.log")"; exit 1; }
fi

# --- Tests ------------------------------------------------------------------------------------------------------------
# They wait more than they work.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-3}
[ $# -gt 0 ] || set -- --all-targets
tests "$@"
