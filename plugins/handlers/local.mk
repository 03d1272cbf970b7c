# plugins/handlers: what executes jobs. `trusted` lists those a host runs on its own threads unless told otherwise.
dist_plugins_DATA = plugins/handlers/trusted
handlers_common = \
  plugins/handlers/common/command.c \
  plugins/handlers/common/command.h \
  plugins/handlers/common/loop.c \
  plugins/handlers/common/loop.h \
  plugins/handlers/common/request.c \
  plugins/handlers/common/request.h \
  plugins/handlers/common/spawn.c \
  plugins/handlers/common/spawn.h

plugins_LTLIBRARIES += builtin.la exec.la pipe.la
builtin_la_SOURCES = plugins/handlers/builtin/builtin.c
builtin_la_LDFLAGS = $(plugin_ldflags)
builtin_la_LIBADD = libodto.la -lpthread -lm

exec_la_SOURCES = $(handlers_common) \
  plugins/handlers/exec/exec.c \
  plugins/handlers/exec/template.c \
  plugins/handlers/exec/template.h
exec_la_LDFLAGS = $(plugin_ldflags)
exec_la_LIBADD = libodto.la -lpthread

pipe_la_SOURCES = $(handlers_common) \
  plugins/handlers/pipe/pipe.c \
  plugins/handlers/pipe/pipe.h \
  plugins/handlers/pipe/reply.c \
  plugins/handlers/pipe/worker.c
pipe_la_LDFLAGS = $(plugin_ldflags)
pipe_la_LIBADD = libodto.la -lpthread -lm

plugins_LTLIBRARIES += http.la
http_sources = \
  plugins/handlers/common/request.c \
  plugins/handlers/common/request.h \
  plugins/handlers/http/breaker.c \
  plugins/handlers/http/guard.c \
  plugins/handlers/http/http.c \
  plugins/handlers/http/http.h \
  plugins/handlers/http/sign.c
http_la_SOURCES = $(http_sources)
http_la_CPPFLAGS = $(AM_CPPFLAGS) $(CURL_CFLAGS) $(NETTLE_CFLAGS)
http_la_LDFLAGS = $(plugin_ldflags)
http_la_LIBADD = libodto.la $(CURL_LIBS) $(NETTLE_LIBS) -lpthread
