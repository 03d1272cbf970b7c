# host/route.mk: events, routes, spool; included from host/local.mk
noinst_LTLIBRARIES += libroute.la
libroute_la_SOURCES = \
  %D%/deque.c %D%/deque.h \
  %D%/event.c %D%/event.h \
  %D%/route.c %D%/route.h %D%/route_internal.h \
  %D%/route_admin.c \
  %D%/route_consumer.c \
  %D%/route_dead.c \
  %D%/route_wait.c
libroute_la_LIBADD = libodto.la -lpthread
