# the bridge rabbitmq beside librabbitmq by hand, on a broker of its own: make bench-rabbitmq
EXTRA_DIST += tests/bench/rabbitmq.py
.PHONY: bench-rabbitmq
if HAVE_RABBITMQ
EXTRA_PROGRAMS += tests/bench/bench_rabbitmq
bench_rabbitmq = tests/bench/bench_rabbitmq
CLEANFILES += tests/bench/bench_rabbitmq
tests_bench_bench_rabbitmq_SOURCES = tests/bench/bench_rabbitmq.c
tests_bench_bench_rabbitmq_CPPFLAGS = $(AM_CPPFLAGS) $(RABBITMQ_CFLAGS)
tests_bench_bench_rabbitmq_LDADD = libodto.la $(RABBITMQ_LIBS) -ldl -lpthread
bench-rabbitmq: tests/bench/bench_rabbitmq rabbitmq.la
	ODTO_SRCDIR=$(abs_top_srcdir) ODTO_BUILDDIR=$(abs_top_builddir) python3 $(top_srcdir)/tests/bench/rabbitmq.py
endif
