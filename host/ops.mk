# host modules that know nothing of plugins' code: manifest, log, metrics, control. Linked into odto-host and
# into their tests.
noinst_LTLIBRARIES += libhostops.la
libhostops_la_SOURCES = \
  host/arena.c host/arena.h \
  host/control.c host/control.h \
  host/host_options.c \
  host/log.c host/log.h \
  host/manifest.c host/manifest.h host/manifest_internal.h \
  host/manifest_check.c \
  host/manifest_errors.c \
  host/manifest_file.c host/manifest_file.h \
  host/manifest_print.c \
  host/manifest_value.c \
  host/metrics.c host/metrics.h \
  host/options.c host/options.h \
  host/process_stats.c host/process_stats.h \
  host/thread.c host/thread.h
libhostops_la_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/host $(INIH_CFLAGS) $(JSONC_CFLAGS)
libhostops_la_LIBADD = libodto.la $(INIH_LIBS) $(JSONC_LIBS) -lpthread -lm

# docs/manifest.md from the option tables; `make manifest-reference` writes it into the source tree
noinst_PROGRAMS += odto-reference
odto_reference_SOURCES = host/reference_main.c host/reference.c host/reference.h
odto_reference_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/host
odto_reference_LDADD = libhostops.la libodto.la -ldl
EXTRA_DIST += docs/manifest.md
manifest-reference: all
	ODTO_SRCDIR=$(abs_top_srcdir) ODTO_BUILDDIR=$(abs_top_builddir) python3 \
	  $(top_srcdir)/tests/integration/manifest_reference.py --update
.PHONY: manifest-reference
