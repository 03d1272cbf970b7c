# plugins/stores/sqlite: the embedded store. The code is a convenience library, so that tests and the benchmark
# link it directly; sqlite.so is that library.
noinst_LTLIBRARIES += libstore_sqlite.la
libstore_sqlite_la_SOURCES = \
  plugins/stores/common/arena.c plugins/stores/common/arena.h \
  %D%/checkpoint.c \
  %D%/claim.c \
  %D%/conn.c \
  %D%/events.c \
  %D%/jobs.c \
  %D%/jobs_read.c \
  %D%/plugin.c \
  %D%/retain.c \
  %D%/schema.c \
  %D%/sql.c \
  %D%/sql.h \
  %D%/store_sqlite.h \
  %D%/writer.c
libstore_sqlite_la_CPPFLAGS = $(AM_CPPFLAGS) $(SQLITE_CFLAGS)

plugins_LTLIBRARIES += sqlite.la
sqlite_la_SOURCES =
sqlite_la_LDFLAGS = $(plugin_ldflags)
sqlite_la_LIBADD = libstore_sqlite.la libodto.la $(SQLITE_LIBS) -lpthread
