# fuzz targets of contracts/, see tests/fuzz/local.mk
contracts_replays = tests/fuzz/replay_json tests/fuzz/replay_schema tests/fuzz/replay_envelope
check_PROGRAMS += $(contracts_replays)
TESTS += tests/fuzz/contracts_json.sh tests/fuzz/contracts_schema.sh tests/fuzz/contracts_envelope.sh
dist_check_SCRIPTS += tests/fuzz/contracts_json.sh tests/fuzz/contracts_schema.sh tests/fuzz/contracts_envelope.sh
tests_fuzz_replay_json_SOURCES = tests/fuzz/fuzz_json.c tests/fuzz/replay.c
tests_fuzz_replay_json_CPPFLAGS = $(contracts_test_flags)
tests_fuzz_replay_json_LDADD = libodto.la $(JSONC_LIBS)
tests_fuzz_replay_schema_SOURCES = tests/fuzz/fuzz_schema.c tests/fuzz/replay.c
tests_fuzz_replay_schema_CPPFLAGS = $(contracts_test_flags)
tests_fuzz_replay_schema_LDADD = libodto.la $(JSONC_LIBS)
tests_fuzz_replay_envelope_SOURCES = tests/fuzz/fuzz_envelope.c tests/fuzz/replay.c
tests_fuzz_replay_envelope_CPPFLAGS = $(contracts_test_flags)
tests_fuzz_replay_envelope_LDADD = libodto.la $(JSONC_LIBS)

if ENABLE_FUZZING
fuzzers += tests/fuzz/fuzz_json tests/fuzz/fuzz_schema tests/fuzz/fuzz_envelope
tests_fuzz_fuzz_json_SOURCES = tests/fuzz/fuzz_json.c
tests_fuzz_fuzz_json_CPPFLAGS = $(contracts_test_flags)
tests_fuzz_fuzz_json_CFLAGS = $(AM_CFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_json_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_json_LDADD = libodto.la $(JSONC_LIBS)
tests_fuzz_fuzz_schema_SOURCES = tests/fuzz/fuzz_schema.c
tests_fuzz_fuzz_schema_CPPFLAGS = $(contracts_test_flags)
tests_fuzz_fuzz_schema_CFLAGS = $(AM_CFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_schema_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_schema_LDADD = libodto.la $(JSONC_LIBS)
tests_fuzz_fuzz_envelope_SOURCES = tests/fuzz/fuzz_envelope.c
tests_fuzz_fuzz_envelope_CPPFLAGS = $(contracts_test_flags)
tests_fuzz_fuzz_envelope_CFLAGS = $(AM_CFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_envelope_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_envelope_LDADD = libodto.la $(JSONC_LIBS)
endif
