# fuzz targets: by libFuzzer with --enable-fuzzing (CC=clang), and replayed over their corpus by make check
check_PROGRAMS += tests/fuzz/replay_manifest
dist_check_SCRIPTS += %D%/manifest.sh
TESTS += %D%/manifest.sh
EXTRA_DIST += %D%/corpus %D%/run.sh
fuzzers =
tests_fuzz_replay_manifest_SOURCES = %D%/fuzz_manifest.c %D%/replay.c
tests_fuzz_replay_manifest_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/host
tests_fuzz_replay_manifest_LDADD = libhostops.la libodto.la

if ENABLE_FUZZING
fuzzers += tests/fuzz/fuzz_manifest
tests_fuzz_fuzz_manifest_SOURCES = %D%/fuzz_manifest.c
tests_fuzz_fuzz_manifest_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/host
tests_fuzz_fuzz_manifest_CFLAGS = $(AM_CFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_manifest_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_manifest_LDADD = libhostops.la libodto.la
endif

include tests/fuzz/contracts.mk

noinst_PROGRAMS += $(fuzzers)
# for tests/fuzz/run.sh
print-fuzzers:
	@printf '%s\n' $(fuzzers)
.PHONY: print-fuzzers
