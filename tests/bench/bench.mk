# make bench: the table of docs/performance.md
EXTRA_DIST += tests/bench/run.py tests/bench/celery_peer.py
.PHONY: bench
EXTRA_PROGRAMS += tests/bench/bench_pty
tests_bench_bench_pty_SOURCES = tests/bench/bench_pty.c tests/bench/hist.h
tests_bench_bench_pty_LDADD = libodto.la -lpthread
CLEANFILES += tests/bench/bench_pty
bench: all tests/bench/bench_sqlite tests/bench/bench_pty tests/bench/bench_dashboard $(bench_postgres) $(bench_rabbitmq) \
	tests/helpers/http_echo tests/helpers/job_worker $(bench_terminals)
	ODTO_SRCDIR='$(abs_top_srcdir)' ODTO_BUILDDIR='$(abs_top_builddir)' python3 $(top_srcdir)/tests/bench/run.py $(BENCH)
