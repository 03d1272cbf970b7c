# host: part of the top Makefile
include host/ops.mk
include host/http.mk
include %D%/route.mk

# odto-host in the top of the build tree: finds odto-probe beside itself and the plugins in plugins.d
bin_PROGRAMS += odto-host
odto_host_SOURCES = \
  host/api.c \
  host/boot.c host/boot.h \
  host/caller.c host/caller.h \
  host/core.c host/core.h \
  host/crash.c host/crash.h \
  host/foreign.c host/foreign.h \
  host/init.c host/init.h \
  host/instance.c host/instance.h \
  host/isolate.c host/isolate.h host/isolate_priv.h host/isolate_shared.h \
  host/isolate_config.c \
  host/isolate_events.c \
  host/isolate_http.c \
  host/isolate_ops.c \
  host/isolate_process.c \
  host/isolate_stack.c \
  host/isolate_runs.c \
  host/isolate_serve.c \
  host/lifecycle.c host/lifecycle.h \
  host/loader.c host/loader.h \
  host/main.c \
  host/privileges.c host/privileges.h \
  host/probe.c host/probe.h \
  host/reload.c host/reload.h \
  host/routes.c \
  host/shutdown.c \
  host/supervisor.c \
  host/swap.c host/swap.h \
  host/timer.c host/timer.h \
  host/dlq.c \
  host/verbs.c host/verbs.h \
  host/watchdog.c host/watchdog.h \
  host/web.c \
  host/wire.c host/wire.h
odto_host_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) -I$(top_srcdir)/host $(ELF_CFLAGS) $(JSONC_CFLAGS) $(NETTLE_CFLAGS) \
  -DODTO_SYSCONFDIR=\"$(sysconfdir)\"
# pthread_create and pthread_key_create of a plugin go through foreign.c
odto_host_LDFLAGS = $(AM_LDFLAGS) -Wl,--export-dynamic-symbol=pthread_create -Wl,--export-dynamic-symbol=pthread_key_create
odto_host_LDADD = libhostops.la libroute.la libhosthttp.la libodto.la $(MHD_LIBS) $(JSONC_LIBS) $(ELF_LIBS) $(NETTLE_LIBS) -ldl -lpthread

pkglibexec_PROGRAMS += odto-probe
odto_probe_SOURCES = host/probe_main.c host/foreign.c host/foreign.h host/loader.c host/loader.h
odto_probe_CPPFLAGS = $(odto_host_CPPFLAGS)
odto_probe_LDADD = libhostops.la libodto.la $(ELF_LIBS) $(NETTLE_LIBS) -ldl

# the process an isolated plugin runs in
pkglibexec_PROGRAMS += odto-worker
odto_worker_SOURCES = \
  host/foreign.c host/foreign.h \
  host/isolate_config.c host/isolate_shared.h \
  host/loader.c host/loader.h \
  host/timer.c host/timer.h \
  host/wire.c host/wire.h \
  host/worker.h \
  host/worker_api.c \
  host/worker_events.c \
  host/worker_http.c \
  host/worker_lane.c \
  host/worker_main.c \
  host/worker_runs.c
odto_worker_CPPFLAGS = $(odto_host_CPPFLAGS)
odto_worker_LDADD = libroute.la libhostops.la libodto.la $(ELF_LIBS) $(NETTLE_LIBS) -ldl -lpthread

# for authors of plugins: the loader's own judgement and a scripted host
bin_PROGRAMS += plugin-check
plugin_check_SOURCES = host/plugin_check.h host/check_faults.c host/check_life.c host/check_main.c host/check_static.c \
  host/foreign.c host/foreign.h host/loader.c host/loader.h
plugin_check_CPPFLAGS = $(odto_host_CPPFLAGS) -I$(top_srcdir)/sdk/include
plugin_check_LDFLAGS = $(odto_host_LDFLAGS)
plugin_check_LDADD = libodto-test.la libodto.la $(ELF_LIBS) $(NETTLE_LIBS) -ldl -lpthread
