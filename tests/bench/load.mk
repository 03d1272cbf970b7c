# the load generator
noinst_PROGRAMS += tests/bench/load
tests_bench_load_SOURCES = tests/bench/load.c tests/bench/hist.h
tests_bench_load_LDADD = libodto.la
