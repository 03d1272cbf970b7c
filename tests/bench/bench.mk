# make bench: the table of docs/performance.md
EXTRA_DIST += tests/bench/run.py tests/bench/celery_peer.py
.PHONY: bench
bench: all tests/bench/bench_sqlite $(bench_postgres)
	ODTO_SRCDIR='$(abs_top_srcdir)' ODTO_BUILDDIR='$(abs_top_builddir)' python3 $(top_srcdir)/tests/bench/run.py $(BENCH)
