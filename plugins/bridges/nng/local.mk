# plugins/bridges/nng
plugins_LTLIBRARIES += nng.la
nng_la_SOURCES = \
  %D%/guard.c \
  %D%/mesh.h \
  %D%/plugin.c \
  %D%/receiver.c \
  %D%/sender.c \
  %D%/wire.c
nng_la_LDFLAGS = $(plugin_ldflags)
nng_la_LIBADD = libodto.la $(NNG_LIBS) -lpthread
