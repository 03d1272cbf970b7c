# unit tests of the stores on servers: programs that tests/integration/store_*.py run beside a server
if HAVE_CHECK
if HAVE_HIREDIS
check_PROGRAMS += tests/unit/store_redis_cases
tests_unit_store_redis_cases_SOURCES = tests/unit/store_redis_cases.c tests/unit/store_util.c tests/unit/store_util.h \
  tests/unit/minihost.c tests/unit/minihost.h
tests_unit_store_redis_cases_CPPFLAGS = $(AM_CPPFLAGS) $(HIREDIS_CFLAGS) $(CHECK_CFLAGS)
tests_unit_store_redis_cases_LDADD = libstore_redis.la libstore_common.la libodto.la $(HIREDIS_LIBS) $(CHECK_LIBS) -lpthread
endif
if HAVE_MONGOC
check_PROGRAMS += tests/unit/store_mongo_cases
tests_unit_store_mongo_cases_SOURCES = tests/unit/store_mongo_cases.c tests/unit/store_util.c tests/unit/store_util.h \
  tests/unit/minihost.c tests/unit/minihost.h
tests_unit_store_mongo_cases_CPPFLAGS = $(AM_CPPFLAGS) $(mongoc_cflags) $(CHECK_CFLAGS)
tests_unit_store_mongo_cases_LDADD = libstore_mongo.la libstore_common.la libodto.la $(MONGOC_LIBS) $(JSONC_LIBS) \
  $(CHECK_LIBS) -lpthread
endif
endif
store_scripts = tests/integration/store_redis.py tests/integration/store_mongo.py tests/integration/stats_rebuild.py \
  tests/integration/on_servers.py tests/integration/up.py
dist_check_SCRIPTS += $(store_scripts)
TESTS += $(store_scripts)
