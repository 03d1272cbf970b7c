# plugins/stores/redis: counters on a Redis server. A convenience library, so that tests link it directly.
if HAVE_HIREDIS
noinst_LTLIBRARIES += libstore_redis.la
libstore_redis_la_SOURCES = %D%/address.c %D%/conn.c %D%/counters.c %D%/plugin.c %D%/tls.c %D%/store_redis.h
libstore_redis_la_CPPFLAGS = $(AM_CPPFLAGS) $(HIREDIS_CFLAGS)

plugins_LTLIBRARIES += redis.la
redis_la_SOURCES =
redis_la_LDFLAGS = $(plugin_ldflags)
redis_la_LIBADD = libstore_redis.la libstore_common.la libodto.la $(HIREDIS_LIBS) -lpthread
endif
