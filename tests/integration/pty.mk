# the terminal broker; where it is built
EXTRA_DIST += tests/lib/terminal.py
if HAVE_LWS
if HAVE_VTERM
pty_scripts = %D%/web_terminal.py
dist_check_SCRIPTS += $(pty_scripts)
TESTS += $(pty_scripts)
endif
endif
