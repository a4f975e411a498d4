#!/usr/bin/env bash
# Measures how well ccwatch recognises compilers by their content, on the executables of Debian's and others' packages.
#
#   tests/corpus/run.sh [--install] [--small] [SUITE...]
#
# Fetches the packages of each suite's list (bookworm.tsv.xz; also bullseye, trixie, sid, trixie-arm64, trixie-others;
# registries and registries-others, of PyPI and npm, which need pip and npm; and elsewhere, of other suites and
# machines of Debian, and of PyPI and npm) and prints one table a suite: recall by kind and family, false alarms, and
# what is left of the recall when the files are stripped, lengthened, robbed of their build-id, section headers,
# identification or marks, cut into pages, or packed. Needs apt, a release build of ccwatch (CCWATCH: another program),
# some 10 GB a suite in CORPUS (default /var/tmp/ccwatch-corpus), which is kept, strip and, for the last row, upx.
# --small: a dozen families and as many other packages of bookworm, which is what CI runs; removes what it fetched.
# --install: what is missing of python3 (3.11), strip, xz and Debian's keyring, by apt.
# Exit code 1 where too few compilers were found, or too much else: tests/corpus/evaluate says how many that is.
set -euo pipefail
cd "$(dirname "$0")/../.."

small=no install=no suites=()
while [ $# -gt 0 ]; do
    case $1 in
    --small) small=yes ;;
    --install) install=yes ;;
    -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    -*) printf 'tests/corpus/run.sh: unknown option %s\n' "$1" >&2; exit 64 ;;
    *) suites+=("$1") ;;
    esac
    shift
done
[ ${#suites[@]} -gt 0 ] || suites=(bookworm)
missing=()
for entry in python3:python3 strip:binutils xzcat:xz-utils; do
    command -v "${entry%%:*}" >/dev/null || missing+=("${entry#*:}")
done
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing+=(debian-archive-keyring)
if [ ${#missing[@]} -gt 0 ] && [ "$install" = yes ]; then
    apt-get update -q >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >&2
elif [ ${#missing[@]} -gt 0 ]; then
    printf 'tests/corpus/run.sh: install these or give --install: %s\n' "${missing[*]}" >&2
    exit 1
fi
ccwatch=${CCWATCH:-target/release/ccwatch}
[ -x "$ccwatch" ] || cargo build --release --locked
here=tests/corpus

if [ "$small" = yes ]; then
    work=$(mktemp -d "${TMPDIR:-/var/tmp}/ccwatch-corpus.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    # A dozen families, and what is most like them: other users of their libraries, tables of instructions, launchers.
    nice "$here/fetch" bookworm "$work" cpp-12 gcc-12 binutils-x86-64-linux-gnu clang-14 lld-14 llvm-14 tcc nasm \
        yasm golang-1.19-go rustc lua5.4 openjdk-17-jdk-headless mold \
        coreutils bash perl-base git-man gdb strace busybox clang-format-14 make ninja-build bison ccache
    "$here/evaluate" --ccwatch "$ccwatch" --labels "$here/bookworm.tsv.xz" --files "$work" --transformations --entries --code \
        --at-least 33 238 --only tcc --only 'ga*' --only 'gcc-[dcl]*' --only 'go-*' --only nasm --only luac --only javac
    exit
fi

worst=0
for list in "${suites[@]}"; do
    suite=${list%%-*} architecture=amd64
    case $list in *-arm64) architecture=arm64 ;; esac
    work=${CORPUS:-/var/tmp/ccwatch-corpus}/$list
    mkdir -p "$work"
    xzcat "$here/$list.tsv.xz" | awk -F '\t' 'NR > 1 && !seen[$1]++ { print $1 }' >"$work/packages"
    case $list in
    registries*) nice "$here/fetch-registries" "$work" --packages "$work/packages" ;;
    elsewhere*)
        for group in $(grep -v '^pypi/\|^npm/' "$work/packages" | cut -d / -f 1,2 | sort -u); do
            sed -n "s,^$group/,,p" "$work/packages" >"$work/group"
            nice "$here/fetch" "${group%/*}" "$work/$group" --architecture "${group#*/}" --packages "$work/group"
        done
        if grep '^pypi/\|^npm/' "$work/packages" >"$work/group"; then
            nice "$here/fetch-registries" "$work" --packages "$work/group"
        fi
        ;;
    *) nice "$here/fetch" "$suite" "$work" --architecture "$architecture" --packages "$work/packages" ;;
    esac
    "$here/evaluate" --ccwatch "$ccwatch" --labels "$here/$list.tsv.xz" --files "$work" --transformations --families --left-out \
        --entries ||
        worst=1
done
exit $worst
