# unit tests of contracts/: libodto
contracts_check_programs = tests/unit/schema_suite
contracts_test_flags = $(AM_CPPFLAGS) $(JSONC_CFLAGS) $(CHECK_CFLAGS)
check_PROGRAMS += $(contracts_check_programs)
TESTS += $(contracts_check_programs)
EXTRA_DIST += tests/data/json-schema-test-suite

tests_unit_schema_suite_SOURCES = tests/unit/schema_suite.c
tests_unit_schema_suite_CPPFLAGS = $(contracts_test_flags)
tests_unit_schema_suite_LDADD = libodto.la
