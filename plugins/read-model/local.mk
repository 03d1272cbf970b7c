plugins_LTLIBRARIES += read-model.la
read_model_sources = \
  %D%/alerts.c \
  %D%/events.c \
  %D%/jobs.c \
  %D%/params.c \
  %D%/read_model.c \
  %D%/read_model.h \
  %D%/rebuild.c \
  %D%/stats.c \
  %D%/watch.c
read_model_la_SOURCES = $(read_model_sources)
read_model_la_CPPFLAGS = $(AM_CPPFLAGS) $(JSONC_CFLAGS)
read_model_la_LDFLAGS = $(plugin_ldflags)
read_model_la_LIBADD = libodto-recount.la libodto-docs.la libodto.la $(JSONC_LIBS)
