plugins_LTLIBRARIES += metrics.la
metrics_sources = \
  %D%/metrics.c \
  %D%/rebuild.c \
  %D%/rebuild.h
metrics_la_SOURCES = $(metrics_sources)
metrics_la_LDFLAGS = $(plugin_ldflags)
metrics_la_LIBADD = libodto-recount.la libodto.la
