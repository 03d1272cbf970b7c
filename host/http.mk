# the host's HTTP and WebSocket server: a convenience library of the host
noinst_LTLIBRARIES += libhosthttp.la
libhosthttp_la_SOURCES = \
  %D%/http.c %D%/http.h %D%/http_priv.h %D%/ws.h \
  %D%/http_api.c \
  %D%/http_builtin.c \
  %D%/http_conn.c \
  %D%/http_export.c %D%/http_export.h \
  %D%/http_gate.c \
  %D%/http_listen.c \
  %D%/http_loop.c \
  %D%/http_metrics.c \
  %D%/http_mount.c \
  %D%/http_peek.c \
  %D%/http_refused.c \
  %D%/http_reply.c \
  %D%/http_request.c \
  %D%/http_route.c \
  %D%/http_stream.c \
  %D%/http_worker.c
libhosthttp_la_CPPFLAGS = $(AM_CPPFLAGS) $(MHD_CFLAGS)
libhosthttp_la_LIBADD = $(MHD_LIBS) -ldl -lpthread
if HAVE_LWS
libhosthttp_la_SOURCES += %D%/ws.c %D%/ws_conn.c %D%/ws_loop.c %D%/ws_watch.c %D%/ws_priv.h
libhosthttp_la_CPPFLAGS += $(LWS_CFLAGS)
libhosthttp_la_LIBADD += $(LWS_LIBS) $(LIBEV_LIBS)
else
libhosthttp_la_SOURCES += %D%/ws_none.c
endif
