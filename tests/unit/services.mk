# unit tests of the services, each against a fake host
services_tests = tests/unit/test_gateway tests/unit/test_metrics_plugin tests/unit/test_read_model
if HAVE_CHECK
check_PROGRAMS += $(services_tests)
TESTS += $(services_tests)
endif
services_test_flags = $(sdk_cppflags) $(CHECK_CFLAGS) $(JSONC_CFLAGS) $(CURL_CFLAGS)
services_test_libs = libodto-test.la libodto-docs.la libodto.la $(JSONC_LIBS) $(CHECK_LIBS)
tests_unit_test_gateway_SOURCES = tests/unit/test_gateway.c $(gateway_sources)
tests_unit_test_gateway_CPPFLAGS = $(services_test_flags)
tests_unit_test_gateway_LDADD = $(services_test_libs)
tests_unit_test_metrics_plugin_SOURCES = tests/unit/test_metrics_plugin.c $(metrics_sources)
tests_unit_test_metrics_plugin_CPPFLAGS = $(services_test_flags)
tests_unit_test_metrics_plugin_LDADD = libodto-recount.la $(services_test_libs)
tests_unit_test_read_model_SOURCES = tests/unit/test_read_model.c $(read_model_sources)
tests_unit_test_read_model_CPPFLAGS = $(services_test_flags)
tests_unit_test_read_model_LDADD = libodto-recount.la $(services_test_libs)
