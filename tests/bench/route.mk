# tests/bench/route.mk: the event core against the machine's limits; included from tests/local.mk
noinst_PROGRAMS += tests/bench/bench_route tests/bench/bench_spool
tests_bench_bench_route_SOURCES = tests/bench/bench_route.c
tests_bench_bench_route_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/host
tests_bench_bench_route_LDADD = libroute.la libodto.la -lpthread
tests_bench_bench_spool_SOURCES = tests/bench/bench_spool.c
tests_bench_bench_spool_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/host $(SQLITE_CFLAGS)
tests_bench_bench_spool_LDADD = libroute.la libodto.la $(SQLITE_LIBS) -lpthread
# a message to a worker process and back, by carrier
noinst_PROGRAMS += tests/bench/bench_wire
tests_bench_bench_wire_SOURCES = tests/bench/bench_wire.c host/wire.c host/wire.h
tests_bench_bench_wire_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) -I$(top_srcdir)/host
tests_bench_bench_wire_LDADD = libodto.la -lpthread
