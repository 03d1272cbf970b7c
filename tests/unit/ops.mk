# unit tests of host/ops.mk
ops_tests = tests/unit/test_manifest tests/unit/test_log tests/unit/test_metrics tests/unit/test_control
if HAVE_CHECK
check_PROGRAMS += $(ops_tests)
TESTS += $(ops_tests)
endif
ops_test_flags = $(AM_CPPFLAGS) -I$(top_srcdir)/host $(CHECK_CFLAGS)
ops_test_libs = libhostops.la libodto.la $(CHECK_LIBS)
tests_unit_test_manifest_SOURCES = tests/unit/test_manifest.c
tests_unit_test_manifest_CPPFLAGS = $(ops_test_flags)
tests_unit_test_manifest_LDADD = $(ops_test_libs)
tests_unit_test_log_SOURCES = tests/unit/test_log.c
tests_unit_test_log_CPPFLAGS = $(ops_test_flags) $(JSONC_CFLAGS)
tests_unit_test_log_LDADD = $(ops_test_libs) $(JSONC_LIBS)
tests_unit_test_metrics_SOURCES = tests/unit/test_metrics.c
tests_unit_test_metrics_CPPFLAGS = $(ops_test_flags)
tests_unit_test_metrics_LDADD = $(ops_test_libs)
tests_unit_test_control_SOURCES = tests/unit/test_control.c
tests_unit_test_control_CPPFLAGS = $(ops_test_flags) $(JSONC_CFLAGS)
tests_unit_test_control_LDADD = $(ops_test_libs) $(JSONC_LIBS) $(NNG_LIBS)

# the command line against scripted peers
dist_check_SCRIPTS += tests/integration/cli.py tests/integration/cli_host.py tests/integration/manifest_reference.py
TESTS += tests/integration/cli.py tests/integration/cli_host.py tests/integration/manifest_reference.py
