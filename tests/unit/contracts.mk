# unit tests of contracts/: libodto
contracts_test_flags = $(AM_CPPFLAGS) $(JSONC_CFLAGS) $(CHECK_CFLAGS)
contracts_test_libs = libodto.la $(CHECK_LIBS)
check_PROGRAMS += tests/unit/schema_suite
TESTS += tests/unit/schema_suite
EXTRA_DIST += tests/data/json-schema-test-suite tests/data/ajv
tests_unit_schema_suite_SOURCES = tests/unit/schema_suite.c
tests_unit_schema_suite_CPPFLAGS = $(contracts_test_flags)
tests_unit_schema_suite_LDADD = libodto.la

contracts_tests = tests/unit/test_base tests/unit/test_json tests/unit/test_json_portable tests/unit/test_schema \
  tests/unit/test_envelope tests/unit/test_contracts_nomem
if HAVE_CHECK
check_PROGRAMS += $(contracts_tests)
TESTS += $(contracts_tests)
endif
tests_unit_test_base_SOURCES = tests/unit/test_base.c
tests_unit_test_base_CPPFLAGS = $(contracts_test_flags)
tests_unit_test_base_LDADD = $(contracts_test_libs)
tests_unit_test_json_SOURCES = tests/unit/test_json.c
tests_unit_test_json_CPPFLAGS = $(contracts_test_flags)
tests_unit_test_json_LDADD = $(contracts_test_libs)
# the scanners as they are on a processor without SSE2
tests_unit_test_json_portable_SOURCES = tests/unit/test_json.c contracts/src/algo.c contracts/src/buf.c contracts/src/error.c \
  contracts/src/json.c contracts/src/json_check.c contracts/src/random.c contracts/src/time.c
tests_unit_test_json_portable_CPPFLAGS = $(contracts_test_flags) -DODTO_PORTABLE
tests_unit_test_json_portable_LDADD = $(JSONC_LIBS) $(CHECK_LIBS)
tests_unit_test_schema_SOURCES = tests/unit/test_schema.c
tests_unit_test_schema_CPPFLAGS = $(contracts_test_flags)
tests_unit_test_schema_LDADD = $(contracts_test_libs)
tests_unit_test_envelope_SOURCES = tests/unit/test_envelope.c
tests_unit_test_envelope_CPPFLAGS = $(contracts_test_flags)
tests_unit_test_envelope_LDADD = $(contracts_test_libs)
tests_unit_test_contracts_nomem_SOURCES = tests/unit/test_contracts_nomem.c
tests_unit_test_contracts_nomem_CPPFLAGS = $(contracts_test_flags)
tests_unit_test_contracts_nomem_LDFLAGS = $(AM_LDFLAGS) \
  -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup
tests_unit_test_contracts_nomem_LDADD = $(contracts_test_libs)

# odto contracts … as a program of its own, for the tests of fixtures and documents
check_PROGRAMS += tests/unit/contracts_cli
tests_unit_contracts_cli_SOURCES = tests/unit/contracts_cli.c tools/cmd_contracts.c tools/cmd_contracts.h
tests_unit_contracts_cli_CPPFLAGS = $(contracts_test_flags) -I$(top_srcdir)/tools
tests_unit_contracts_cli_LDADD = libodto.la $(JSONC_LIBS)
contracts_scripts = tests/integration/contracts.py tests/integration/contract_versions.py \
  tests/integration/json_differential.py tests/integration/formats_differential.py
EXTRA_DIST += $(contracts_scripts)
TESTS += $(contracts_scripts)

# what a message costs: make bench-contracts
EXTRA_PROGRAMS += tests/bench/bench_contracts
CLEANFILES += tests/bench/bench_contracts
tests_bench_bench_contracts_SOURCES = tests/bench/bench_contracts.c
tests_bench_bench_contracts_CPPFLAGS = $(contracts_test_flags)
tests_bench_bench_contracts_LDADD = libodto.la $(JSONC_LIBS)
.PHONY: bench-contracts
bench-contracts: tests/bench/bench_contracts
	tests/bench/bench_contracts
