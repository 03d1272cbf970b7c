#!/bin/sh
# tests/fuzz/run.sh [SECONDS] — build the fuzz targets with clang in build-fuzz and run each for so long (20) from its corpus;
# what it finds is left there, the corpus stays as it is. A crash, a leak, undefined behaviour or a hang ends it with 1.
set -eu
cd "$(dirname "$0")/../.."
top=$PWD seconds=${1:-20} build=${ODTO_FUZZ_BUILD:-$PWD/build-fuzz}
[ -x configure ] || ./autogen.sh
mkdir -p "$build"
cd "$build"
[ -f Makefile ] || "$top/configure" -q CC="${ODTO_FUZZ_CC:-clang}" --enable-fuzzing
make -s -j"$(getconf _NPROCESSORS_ONLN)" libodto.la libhostops.la
targets=$(make -s print-fuzzers)
# shellcheck disable=SC2086
make -s -j"$(getconf _NPROCESSORS_ONLN)" $targets
for target in $targets; do
    name=${target##*fuzz_}
    new=$build/found/$name
    mkdir -p "$new"
    echo "== $name, $seconds s"
    "./$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
        -artifact_prefix="$new/crash-" "$new" "$top/tests/fuzz/corpus/$name" 2>"$new.log" ||
        { tail -n 60 "$new.log"; echo "$name: the input is in $new" >&2; exit 1; }
    grep -h 'number_of_executed_units' "$new.log"
done
