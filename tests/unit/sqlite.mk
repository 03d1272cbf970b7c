# unit tests and benchmark of plugins/stores/sqlite
sqlite_tests = tests/unit/test_sqlite tests/unit/test_sqlite_log tests/unit/test_sqlite_faults
if HAVE_CHECK
check_PROGRAMS += $(sqlite_tests)
TESTS += $(sqlite_tests)
endif
sqlite_test_flags = $(AM_CPPFLAGS) $(SQLITE_CFLAGS) $(CHECK_CFLAGS)
sqlite_test_libs = libstore_sqlite.la libodto.la $(SQLITE_LIBS) $(CHECK_LIBS) -lpthread
sqlite_test_fixture = tests/unit/minihost.c tests/unit/minihost.h tests/unit/store_fixture.c tests/unit/store_fixture.h \
  tests/unit/sqlite_fixture.c tests/unit/sqlite_fixture.h
tests_unit_test_sqlite_SOURCES = tests/unit/test_sqlite.c tests/unit/store_suite.c tests/unit/store_suite.h $(sqlite_test_fixture)
tests_unit_test_sqlite_CPPFLAGS = $(sqlite_test_flags)
tests_unit_test_sqlite_LDADD = $(sqlite_test_libs)
tests_unit_test_sqlite_log_SOURCES = tests/unit/test_sqlite_log.c $(sqlite_test_fixture)
tests_unit_test_sqlite_log_CPPFLAGS = $(sqlite_test_flags)
tests_unit_test_sqlite_log_LDADD = $(sqlite_test_libs)
tests_unit_test_sqlite_faults_SOURCES = tests/unit/test_sqlite_faults.c tests/unit/faulty_vfs.c tests/unit/faulty_vfs.h \
  $(sqlite_test_fixture)
tests_unit_test_sqlite_faults_CPPFLAGS = $(sqlite_test_flags)
tests_unit_test_sqlite_faults_LDADD = $(sqlite_test_libs)

EXTRA_PROGRAMS += tests/bench/bench_sqlite
tests_bench_bench_sqlite_SOURCES = tests/bench/bench_sqlite.c tests/unit/minihost.c tests/unit/minihost.h
tests_bench_bench_sqlite_CPPFLAGS = $(AM_CPPFLAGS) $(SQLITE_CFLAGS)
tests_bench_bench_sqlite_LDADD = libstore_sqlite.la libodto.la $(SQLITE_LIBS) -lpthread
