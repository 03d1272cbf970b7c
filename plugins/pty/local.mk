# the terminal broker; its parts are a convenience library, so that tests link them
noinst_LTLIBRARIES += libpty.la
libpty_la_SOURCES = \
  %D%/auth.c %D%/auth.h \
  %D%/binary.c \
  %D%/filter.c %D%/filter.h \
  %D%/handover.c \
  %D%/json.c \
  %D%/loop.c \
  %D%/pty.h \
  %D%/ring.c %D%/ring.h \
  %D%/session.c \
  %D%/settings.c \
  %D%/spawn.c %D%/spawn.h \
  %D%/stream.c \
  %D%/term_cell.c %D%/term_cell.h \
  %D%/term_modes.c %D%/term_modes.h \
  %D%/term_state.c %D%/term_state.h \
  %D%/tickets.c \
  %D%/viewer.c
libpty_la_CPPFLAGS = $(AM_CPPFLAGS) $(JSONC_CFLAGS) $(VTERM_CFLAGS) $(NETTLE_CFLAGS)

plugins_LTLIBRARIES += pty.la
pty_la_SOURCES = %D%/plugin.c
pty_la_CPPFLAGS = $(AM_CPPFLAGS) $(VTERM_CFLAGS)
pty_la_LDFLAGS = $(plugin_ldflags)
pty_la_LIBADD = libpty.la libodto.la $(JSONC_LIBS) $(VTERM_LIBS) $(NETTLE_LIBS) -lpthread
