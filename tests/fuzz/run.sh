#!/usr/bin/env bash
# Reads and judges files of any bytes, led by what they reach in the program (libFuzzer). tests/bytes.rs asks the same of
# cases that chance makes, with all other tests.
#
#   tests/fuzz/run.sh [SECONDS]
#
# For 300 seconds, or as many as are given, beginning with small programs of this machine. Needs a C++ compiler. What it
# found is kept in target/fuzz/corpus; a case that fails lies in target/fuzz, and its command is printed.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$PWD/target/fuzz
mkdir -p "$target/corpus"
for program in /usr/bin/tcc /bin/true /lib64/ld-linux-x86-64.so.2 /usr/bin/*-ranlib; do
    # Some of the limit, no hole, two words.
    [ ! -f "$program" ] || { printf '\377\0\2' && head -c 20000 "$program"; } >"$target/corpus/seed-${program##*/}"
done
export CARGO_TARGET_DIR=$target/build
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
coverage+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
RUSTFLAGS="$coverage -Clink-dead-code --cfg fuzzing" cargo build --release --manifest-path tests/fuzz/Cargo.toml \
    --target x86_64-unknown-linux-gnu
cd "$target"
exec build/x86_64-unknown-linux-gnu/release/content corpus -max_total_time="${1:-300}" -max_len=65536 -timeout=10 \
    -print_final_stats=1
