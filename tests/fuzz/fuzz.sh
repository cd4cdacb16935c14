#!/bin/sh
# SPDX-License-Identifier: MIT
#
# fuzz.sh DIR SECONDS: runs every fuzz target of DIR for so long, starting from tests/fuzz/seeds, and
# prints what it did. New inputs of interest are kept in DIR/corpus, findings in DIR/findings.
set -eu
dir=$1
seconds=$2
failed=0
mkdir -p "$dir/findings"

for target in "$dir"/fuzz_*; do
    name=$(basename "$target")
    [ -x "$target" ] || continue
    corpus=$dir/corpus/$name
    mkdir -p "$corpus"
    log=$dir/$name.log
    if "$target" -max_total_time="$seconds" -max_len=8192 -timeout=60 -print_final_stats=1 \
        -artifact_prefix="$dir/findings/$name-" "$corpus" "tests/fuzz/seeds/$name" >"$log" 2>&1; then
        verdict='no finding'
    else
        verdict="FOUND something: see $log"
        failed=1
    fi
    printf '%-14s %10s executions, corpus %5s inputs: %s\n' "$name" \
        "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" \
        "$(find "$corpus" -type f | wc -l)" "$verdict"
done
exit $failed
