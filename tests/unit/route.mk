# tests/unit/route.mk: tests of the event core; included from tests/local.mk
if HAVE_CHECK
route_tests = test_event test_route test_route_bridge test_route_spool test_spool
check_PROGRAMS += $(route_tests)
TESTS += $(route_tests)
route_test_cppflags = $(AM_CPPFLAGS) -I$(top_srcdir)/host $(CHECK_CFLAGS)
route_test_libs = libroute.la libodto.la $(CHECK_LIBS)
test_event_SOURCES = %D%/test_event.c %D%/route_util.h
test_event_CPPFLAGS = $(route_test_cppflags)
test_event_LDADD = $(route_test_libs)
test_route_SOURCES = %D%/test_route.c %D%/route_util.h
test_route_CPPFLAGS = $(route_test_cppflags)
test_route_LDADD = $(route_test_libs)
test_route_bridge_SOURCES = %D%/test_route_bridge.c %D%/route_util.h
test_route_bridge_CPPFLAGS = $(route_test_cppflags)
test_route_bridge_LDADD = $(route_test_libs)
test_spool_SOURCES = %D%/test_spool.c %D%/spool_util.c %D%/spool_util.h %D%/route_util.h
test_spool_CPPFLAGS = $(route_test_cppflags)
test_spool_LDADD = $(route_test_libs)
test_route_spool_SOURCES = %D%/test_route_spool.c %D%/spool_util.c %D%/spool_util.h %D%/route_util.h
test_route_spool_CPPFLAGS = $(route_test_cppflags)
test_route_spool_LDADD = $(route_test_libs)
endif
