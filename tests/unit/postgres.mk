# tests of plugins/stores/postgres. test_postgres needs a server: the script brings one and runs it.
postgres_scripts = tests/integration/postgres_store.py tests/integration/postgres_faults.py
dist_check_SCRIPTS += $(postgres_scripts)
TESTS += $(postgres_scripts)
EXTRA_DIST += tests/lib/postgres.py tests/lib/proxy.py tests/lib/faults.py
if HAVE_PQ
if HAVE_CHECK
check_PROGRAMS += tests/unit/test_postgres
endif
endif
tests_unit_test_postgres_SOURCES = tests/unit/test_postgres.c tests/unit/store_suite.c tests/unit/store_suite.h \
  tests/unit/minihost.c tests/unit/minihost.h tests/unit/store_fixture.c tests/unit/store_fixture.h \
  tests/unit/postgres_fixture.c tests/unit/postgres_fixture.h
tests_unit_test_postgres_CPPFLAGS = $(AM_CPPFLAGS) $(PQ_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_postgres_LDADD = libstore_postgres.la libodto.la $(PQ_LIBS) $(CHECK_LIBS) -lpthread

if HAVE_PQ
EXTRA_PROGRAMS += tests/bench/bench_postgres
bench_postgres = tests/bench/bench_postgres
endif
tests_bench_bench_postgres_SOURCES = tests/bench/bench_postgres.c tests/unit/minihost.c tests/unit/minihost.h
tests_bench_bench_postgres_CPPFLAGS = $(AM_CPPFLAGS) $(PQ_CFLAGS)
tests_bench_bench_postgres_LDADD = libstore_postgres.la libodto.la $(PQ_LIBS) -lpthread
