# plugins/stores/mongo: the event log on a MongoDB server. A convenience library, so that tests link it directly.
if HAVE_MONGOC
# libbson's inline functions do not pass -Wconversion: its headers are the system's
mongoc_cflags = $(subst -I,-isystem ,$(MONGOC_CFLAGS))
noinst_LTLIBRARIES += libstore_mongo.la
libstore_mongo_la_SOURCES = %D%/document.c %D%/document.h %D%/client.c %D%/plugin.c %D%/read.c %D%/store_mongo.h \
  %D%/write.c
libstore_mongo_la_CPPFLAGS = $(AM_CPPFLAGS) $(mongoc_cflags) $(JSONC_CFLAGS)

plugins_LTLIBRARIES += mongo.la
mongo_la_SOURCES =
mongo_la_LDFLAGS = $(plugin_ldflags)
mongo_la_LIBADD = libstore_mongo.la libstore_common.la libodto.la $(MONGOC_LIBS) $(JSONC_LIBS) -lpthread
endif
