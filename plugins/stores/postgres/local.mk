# plugins/stores/postgres: jobs in PostgreSQL. The code is a convenience library, so that tests and the benchmark
# link it directly; postgres.so is that library.
if HAVE_PQ
noinst_LTLIBRARIES += libstore_postgres.la
libstore_postgres_la_SOURCES = \
  plugins/stores/common/arena.c plugins/stores/common/arena.h \
  %D%/apply.c \
  %D%/bin.c \
  %D%/bin.h \
  %D%/conn.c \
  %D%/jobs_read.c \
  %D%/plugin.c \
  %D%/schema.c \
  %D%/sql.c \
  %D%/sql.h \
  %D%/steps.c \
  %D%/store_postgres.h \
  %D%/upkeep.c \
  %D%/writer.c
libstore_postgres_la_CPPFLAGS = $(AM_CPPFLAGS) $(PQ_CFLAGS)

plugins_LTLIBRARIES += postgres.la
postgres_la_SOURCES =
postgres_la_LDFLAGS = $(plugin_ldflags)
postgres_la_LIBADD = libstore_postgres.la libodto.la $(PQ_LIBS) -lpthread
endif
