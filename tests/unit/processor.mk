# unit tests of plugins/processor and plugins/handlers: the built modules in a fake host
processor_tests = tests/unit/test_processor tests/unit/test_handlers tests/unit/test_handler_http
if HAVE_CHECK
check_PROGRAMS += $(processor_tests) tests/helpers/job_worker
TESTS += $(processor_tests)
endif
multihost_sources = tests/unit/multihost.c tests/unit/multihost.h
processor_test_flags = $(AM_CPPFLAGS) $(JSONC_CFLAGS) $(CHECK_CFLAGS)
processor_test_libs = libodto.la $(JSONC_LIBS) $(CHECK_LIBS) -ldl -lpthread
tests_unit_test_processor_SOURCES = tests/unit/test_processor.c tests/unit/fakestore.c tests/unit/fakestore.h $(multihost_sources)
tests_unit_test_processor_CPPFLAGS = $(processor_test_flags)
tests_unit_test_processor_LDADD = $(processor_test_libs)
tests_unit_test_handlers_SOURCES = tests/unit/test_handlers.c $(multihost_sources)
tests_unit_test_handlers_CPPFLAGS = $(processor_test_flags)
tests_unit_test_handlers_LDADD = $(processor_test_libs)
tests_helpers_job_worker_SOURCES = tests/helpers/job_worker.c
tests_helpers_job_worker_CPPFLAGS = $(AM_CPPFLAGS) $(JSONC_CFLAGS)
tests_helpers_job_worker_LDADD = $(JSONC_LIBS)
tests_unit_test_handler_http_SOURCES = tests/unit/test_handler_http.c $(multihost_sources) \
  plugins/handlers/http/breaker.c plugins/handlers/http/guard.c plugins/handlers/http/sign.c
tests_unit_test_handler_http_CPPFLAGS = $(processor_test_flags) $(CURL_CFLAGS) $(NETTLE_CFLAGS)
tests_unit_test_handler_http_LDADD = $(processor_test_libs) $(CURL_LIBS) $(NETTLE_LIBS)
