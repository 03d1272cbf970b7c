plugins_LTLIBRARIES += gateway.la
gateway_sources = \
  %D%/batch.c \
  %D%/gateway.c \
  %D%/gateway.h \
  %D%/intake.c \
  %D%/jobs.c \
  %D%/proxy.c \
  %D%/types.c
gateway_la_SOURCES = $(gateway_sources)
gateway_la_CPPFLAGS = $(AM_CPPFLAGS) $(CURL_CFLAGS)
gateway_la_LDFLAGS = $(plugin_ldflags)
gateway_la_LIBADD = libodto-docs.la libodto.la
