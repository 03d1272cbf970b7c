# plugins/bridges/rabbitmq; window.c and acks.c are tested apart
if HAVE_RABBITMQ
plugins_LTLIBRARIES += rabbitmq.la
endif
rabbitmq_la_SOURCES = \
  %D%/acks.c %D%/acks.h \
  %D%/admin.c \
  %D%/consumer.c \
  %D%/plugin.c \
  %D%/publisher.c \
  %D%/rabbitmq.h \
  %D%/session.c \
  %D%/window.c %D%/window.h
rabbitmq_la_CPPFLAGS = $(AM_CPPFLAGS) $(JSONC_CFLAGS) $(RABBITMQ_CFLAGS)
rabbitmq_la_LDFLAGS = $(plugin_ldflags)
rabbitmq_la_LIBADD = libodto.la $(JSONC_LIBS) $(RABBITMQ_LIBS) -lpthread
