# odto-dashboard: part of the top Makefile. The doctor is built without ncurses too: `odto doctor` links it.
noinst_LTLIBRARIES += tools/dashboard/libdoctor.la
tools_dashboard_libdoctor_la_SOURCES = \
  %D%/doctor.c %D%/doctor.h \
  %D%/doctor_checks.c \
  %D%/doctor_config.c %D%/doctor_config.h \
  %D%/locate.c %D%/locate.h \
  %D%/probe.c %D%/probe.h \
  %D%/text.c %D%/text.h
tools_dashboard_libdoctor_la_CPPFLAGS = $(AM_CPPFLAGS) $(CURL_CFLAGS) $(INIH_CFLAGS) \
  -DODTO_SYSCONFDIR=\"$(sysconfdir)\"
tools_dashboard_libdoctor_la_LIBADD = $(CURL_LIBS) $(INIH_LIBS)

if HAVE_NCURSES
# everything but the terminal and main(): what the unit tests link
noinst_LTLIBRARIES += tools/dashboard/libdashboard.la
tools_dashboard_libdashboard_la_SOURCES = \
  %D%/child.c %D%/child.h \
  %D%/edit.c %D%/edit.h \
  %D%/grid.c %D%/grid.h \
  %D%/keys.c %D%/keys.h \
  %D%/launch.c %D%/launch.h \
  %D%/launch_cluster.c \
  %D%/launch_local.c \
  %D%/layout.c %D%/layout.h \
  %D%/metrics.c \
  %D%/net.c %D%/net.h \
  %D%/parse.c %D%/parse.h \
  %D%/plot.c %D%/plot.h \
  %D%/progress.c %D%/progress.h \
  %D%/registry.c %D%/registry.h \
  %D%/snapshot.c %D%/snapshot.h \
  %D%/style.c %D%/style.h \
  %D%/svg.c %D%/svg.h \
  %D%/ui.c %D%/ui.h \
  %D%/ui_do.c \
  %D%/ui_form.c \
  %D%/ui_list.c \
  %D%/view.c %D%/view.h \
  %D%/view_dash.c \
  %D%/view_dialogs.c \
  %D%/view_jobs.c \
  %D%/view_setup.c
tools_dashboard_libdashboard_la_CPPFLAGS = $(AM_CPPFLAGS) $(CURL_CFLAGS) $(JSONC_CFLAGS)
tools_dashboard_libdashboard_la_LIBADD = tools/dashboard/libdoctor.la libodto.la $(JSONC_LIBS) -lm -lpthread

bin_PROGRAMS += odto-dashboard
odto_dashboard_SOURCES = \
  %D%/app.c %D%/app.h \
  %D%/main.c \
  %D%/plain.c \
  %D%/screen.c %D%/screen.h
odto_dashboard_CPPFLAGS = $(AM_CPPFLAGS) $(CURL_CFLAGS) $(NCURSES_CFLAGS) -DODTO_COMMIT=\"$(ODTO_COMMIT)\"
odto_dashboard_LDADD = tools/dashboard/libdashboard.la $(NCURSES_LIBS)
endif
EXTRA_DIST += docs/dashboard.md
