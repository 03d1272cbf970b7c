# plugins/stores/common: what the stores on servers share
noinst_LTLIBRARIES += libstore_common.la
libstore_common_la_SOURCES = %D%/write_queue.c %D%/write_queue.h
