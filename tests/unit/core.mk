# unit tests of the host's core
core_tests = tests/unit/test_lifecycle tests/unit/test_timer tests/unit/test_caller tests/unit/test_wire
if HAVE_CHECK
check_PROGRAMS += $(core_tests)
TESTS += $(core_tests)
endif
core_test_flags = $(AM_CPPFLAGS) -I$(top_srcdir) $(CHECK_CFLAGS)
tests_unit_test_lifecycle_SOURCES = tests/unit/test_lifecycle.c host/lifecycle.c
tests_unit_test_lifecycle_CPPFLAGS = $(core_test_flags)
tests_unit_test_lifecycle_LDADD = $(CHECK_LIBS)
tests_unit_test_timer_SOURCES = tests/unit/test_timer.c host/timer.c
tests_unit_test_timer_CPPFLAGS = $(core_test_flags)
tests_unit_test_timer_LDADD = libodto.la $(CHECK_LIBS) -lpthread
tests_unit_test_caller_SOURCES = tests/unit/test_caller.c host/caller.c host/thread.c
tests_unit_test_caller_CPPFLAGS = $(core_test_flags)
tests_unit_test_caller_LDADD = libodto.la $(CHECK_LIBS) -lpthread
tests_unit_test_wire_SOURCES = tests/unit/test_wire.c host/wire.c
tests_unit_test_wire_CPPFLAGS = $(core_test_flags)
tests_unit_test_wire_LDADD = libodto.la $(CHECK_LIBS) -lpthread
