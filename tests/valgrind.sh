#!/bin/sh
# tests/valgrind.sh [TEST…]: unit tests, and the host under its services' tests, in valgrind's memcheck; run it in the build folder
# after `make check`, or `make valgrind` there. It sees what the sanitizers don't: values never written. Ends 1 on any error or leak.
set -eu
src=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export ODTO_SRCDIR="$src" ODTO_BUILDDIR="$PWD" CK_TIMEOUT_MULTIPLIER=40 CK_TAP_LOG_FILE_NAME=- ODTO_TEST_SLOW=10

# Code that PCRE2 makes at run time reads past what it needs, and memcheck can't know that: patterns are interpreted here.
printf 'int pcre2_jit_compile_8(void *c, unsigned o) { (void)c, (void)o; return -45; }\n' >"$work/nojit.c"
${CC:-cc} -shared -fPIC -o "$work/nojit.so" "$work/nojit.c"

memcheck() {
    echo "valgrind -q --error-exitcode=99 --exit-on-first-error=no --keep-debuginfo=yes --leak-check=full --show-leak-kinds=definite" \
        "--errors-for-leak-kinds=definite --suppressions=$src/tests/valgrind.supp --log-file=$work/memcheck.%p"
}

unit() {
    # shellcheck disable=SC2046
    LD_PRELOAD="$work/nojit.so" $(memcheck) "./$1" >"$work/out" 2>&1
}

# The programs that the host starts are not looked at, nor is Python.
service() {
    ODTO_TEST_WRAP="env LD_PRELOAD=$work/nojit.so $(memcheck)" python3 "$src/$1" >"$work/out" 2>&1
}

[ $# != 0 ] || set -- tests/unit/test_base tests/unit/test_json tests/unit/test_envelope tests/unit/test_schema tests/unit/test_manifest \
    tests/unit/test_metrics tests/unit/test_timer tests/unit/test_wire tests/unit/test_log tests/unit/test_lifecycle \
    tests/unit/test_sqlite_log tests/unit/test_gateway tests/unit/test_read_model tests/unit/test_metrics_plugin \
    tests/integration/gateway.py tests/integration/read_model.py
failed=0
for t in "$@"; do
    began=$(date +%s)
    case $t in *.py) run=service ;; *) run=unit ;; esac
    if $run "$t"; then r=0; else r=$?; fi
    # lines with "--" are valgrind's own: a system call that it doesn't know
    if [ $r = 0 ] && ! grep -q '^==' "$work"/memcheck.*; then
        rm -f "$work"/memcheck.*
        echo "ok $t ($(($(date +%s) - began)) s)"
        continue
    fi
    failed=$((failed + 1))
    echo "not ok $t (exit $r)"
    grep -A 20 '^not ok' "$work/out" | head -n 60 || true
    grep -h '^==' "$work"/memcheck.* | head -n 100 || true
    rm -f "$work"/memcheck.*
done
echo "$(($# - failed)) passed, $failed failed"
[ $failed = 0 ]
