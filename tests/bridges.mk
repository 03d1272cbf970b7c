# tests of the bridges
EXTRA_DIST += tests/lib/rabbitmq.py tests/lib/other.py tests/lib/net.py tests/lib/cluster.py
dist_check_SCRIPTS += tests/integration/mixed_stack.py tests/integration/bridge_rabbitmq.py tests/integration/bridge_nng.py \
  tests/chaos/cluster.py
TESTS += tests/integration/bridge_nng.py
if HAVE_RABBITMQ
TESTS += tests/integration/bridge_rabbitmq.py tests/integration/mixed_stack.py tests/chaos/cluster.py
endif
if HAVE_CHECK
check_PROGRAMS += test_rabbitmq_parts
TESTS += test_rabbitmq_parts
test_rabbitmq_parts_SOURCES = tests/unit/test_rabbitmq_parts.c \
  plugins/bridges/rabbitmq/acks.c plugins/bridges/rabbitmq/acks.h \
  plugins/bridges/rabbitmq/window.c plugins/bridges/rabbitmq/window.h
test_rabbitmq_parts_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/plugins/bridges/rabbitmq $(CHECK_CFLAGS)
test_rabbitmq_parts_LDADD = $(CHECK_LIBS)
endif
