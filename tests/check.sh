#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check.sh BUILD [PYTEST ARGUMENT]...: runs all unit tests (with $WRAPPER before each, if that is set)
# and, if there are arguments for pytest, the end-to-end tests; adds up what ran. Ends with 0 if nothing
# failed and something ran.
set -u
build=$1
shift
log=$build/check.log
: >"$log"

# The end-to-end tests wait most of their time: meanwhile as many unit tests run at once as there are
# processors, politely; what each says stays together.
export WRAPPER="${WRAPPER-}"
# shellcheck disable=SC2016 # the inner shell expands them
find "$build"/tests/unit -type f -perm -u+x | sort | nice xargs -P "$(nproc)" -I '{}' \
    sh -c '$WRAPPER "$1" >"$1.log" 2>&1; cat "$1.log"' sh '{}' >"$log.units" 2>&1 &
# Several files of tests run at once as well; those that change KSM's settings, which they would wait for, are
# one of them (tests/e2e/conftest.py).
cache=$(cd "$build" && pwd)/pytest_cache     # pytest takes a relative path from its own directory
pytest() {
    KSM_BUILD=$build ${PYTHON:-/usr/bin/python3} -m pytest -q -rsfE -o cache_dir="$cache" \
        tests/e2e "$@" 2>&1
}
[ $# = 0 ] || pytest -n 4 --dist loadgroup "$@" | tee -a "$log"
wait
# Beside others, on a busy machine, a test may fail for want of a processor: what failed runs again, alone.
: >"$log.again"
if grep -qE '^(FAILED|ERROR) ' "$log"; then
    echo "== again, alone: the end-to-end tests that failed"
    # xdist appends @GROUP to the names of tests, which pytest alone does not know.
    sed -i 's/@[a-z_]*": true/": true/' "$cache/v/cache/lastfailed"
    pytest --last-failed --last-failed-no-failures none "$@" | tee "$log.again"
fi
tee -a "$log" <"$log.units"

# check says "98%: Checks: 50, Failures: 1, Errors: 0", pytest at last "1 failed, 20 passed, 2 skipped in 3s";
# a program that crashed says neither, which is why the number of programs is counted as well.
awk -v programs="$(find "$build"/tests/unit -type f -perm -u+x | wc -l)" -v pytest="$#" '
    /^[0-9]+%: Checks: / {
        gsub(/[,:]/, "")
        summaries++; failed += $5 + $7; passed += $3 - $5 - $7
    }
    /^[0-9]+ (passed|failed|error|skipped|deselected).* in [0-9.]+s/ {
        pytest = 0
        again = FILENAME ~ /again$/
        split("", count)
        for (i = 2; i <= NF; i++) { sub(/s?,?$/, "", $i); count[$i] = $(i - 1) }
        run_passed[again] = count["passed"]
        run_failed[again] = count["failed"] + count["error"]
        if (!again) skipped = count["skipped"] + 0
    }
    END {
        passed += run_passed[0] + run_passed[1]
        failed += run_failed[(1 in run_failed) ? 1 : 0]
        if (run_passed[1]) printf "%d end-to-end tests passed only when they ran again, alone\n", run_passed[1]
        if (summaries != programs) {
            failed += programs - summaries
            printf "%d of %d unit test programs ended without a summary\n", programs - summaries, programs
        }
        if (pytest) { failed++; print "the end-to-end tests ended without a summary" }
        printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
        exit failed > 0 || passed == 0
    }' "$log" "$log.again"
