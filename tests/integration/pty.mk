# the terminal broker; where it is built
EXTRA_DIST += tests/lib/terminal.py
if HAVE_LWS
if HAVE_VTERM
pty_scripts = %D%/web_terminal.py %D%/pty_hostile.py %D%/pty_flow.py %D%/pty_restore.py
dist_check_SCRIPTS += $(pty_scripts)
TESTS += $(pty_scripts)
check_PROGRAMS += tests/helpers/vt_screen
bench_terminals = tests/helpers/vt_screen
endif
endif
tests_helpers_vt_screen_SOURCES = tests/helpers/vt_screen.c
tests_helpers_vt_screen_CPPFLAGS = $(AM_CPPFLAGS) $(VTERM_CFLAGS)
tests_helpers_vt_screen_LDADD = $(VTERM_LIBS)
