# plugins/processor: executes jobs
plugins_LTLIBRARIES += processor.la
processor_sources = \
  plugins/processor/commit.c \
  plugins/processor/executor.c \
  plugins/processor/history.c \
  plugins/processor/intake.c \
  plugins/processor/item.c \
  plugins/processor/lifecycle.c \
  plugins/processor/mailbox.c \
  plugins/processor/metrics.c \
  plugins/processor/options.c \
  plugins/processor/outbox.c \
  plugins/processor/outcome.c \
  plugins/processor/pools.c \
  plugins/processor/processor.c \
  plugins/processor/processor.h \
  plugins/processor/scheduler.c \
  plugins/processor/slab.c
processor_la_SOURCES = $(processor_sources)
processor_la_CPPFLAGS = $(AM_CPPFLAGS)
processor_la_LDFLAGS = $(plugin_ldflags)
processor_la_LIBADD = libodto.la -lpthread -lm
