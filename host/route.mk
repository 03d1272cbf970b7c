# host/route.mk: events, routes, spool; included from host/local.mk
noinst_LTLIBRARIES += libpresence.la libroute.la
libpresence_la_SOURCES = %D%/presence.c %D%/presence.h
libpresence_la_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)
libroute_la_SOURCES = \
  %D%/deque.c %D%/deque.h \
  %D%/event.c %D%/event.h \
  %D%/route.c %D%/route.h %D%/route_internal.h \
  %D%/route_admin.c \
  %D%/route_bridge.c \
  %D%/route_consumer.c \
  %D%/route_dead.c \
  %D%/route_spool.c \
  %D%/route_wait.c \
  %D%/spool.c %D%/spool.h %D%/spool_internal.h \
  %D%/spool_acks.c \
  %D%/spool_format.c %D%/spool_format.h \
  %D%/spool_io.c \
  %D%/spool_journal.c \
  %D%/spool_read.c \
  %D%/spool_recover.c \
  %D%/spool_segment.c
libroute_la_LIBADD = libpresence.la libodto.la -lpthread
