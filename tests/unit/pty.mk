# unit tests of the terminal broker's parts
if HAVE_LWS
if HAVE_VTERM
pty_tests = tests/unit/test_pty_term tests/unit/test_pty_parts
if HAVE_CHECK
check_PROGRAMS += $(pty_tests)
TESTS += $(pty_tests)
endif
endif
endif
tests_unit_test_pty_term_SOURCES = tests/unit/test_pty_term.c
tests_unit_test_pty_term_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/plugins/pty $(VTERM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_pty_term_LDADD = libpty.la libodto.la $(JSONC_LIBS) $(VTERM_LIBS) $(NETTLE_LIBS) $(CHECK_LIBS) -lpthread
tests_unit_test_pty_parts_SOURCES = tests/unit/test_pty_parts.c
tests_unit_test_pty_parts_CPPFLAGS = $(tests_unit_test_pty_term_CPPFLAGS)
tests_unit_test_pty_parts_LDADD = $(tests_unit_test_pty_term_LDADD)
