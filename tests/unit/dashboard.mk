# tests of the dashboard and the doctor
EXTRA_DIST += tests/dashboard/fake_system.py tests/golden/dashboard
if HAVE_NCURSES
if HAVE_CHECK
dashboard_tests = tests/unit/test_dash_parts tests/unit/test_dash_ui tests/unit/test_dash_view
check_PROGRAMS += $(dashboard_tests)
TESTS += $(dashboard_tests)
dashboard_test_flags = $(AM_CPPFLAGS) -I$(top_srcdir)/tools/dashboard $(CHECK_CFLAGS)
dashboard_test_libs = tools/dashboard/libdashboard.la $(CHECK_LIBS)
tests_unit_test_dash_parts_SOURCES = tests/unit/test_dash_parts.c
tests_unit_test_dash_parts_CPPFLAGS = $(dashboard_test_flags)
tests_unit_test_dash_parts_LDADD = $(dashboard_test_libs)
tests_unit_test_dash_ui_SOURCES = tests/unit/test_dash_ui.c tests/unit/dash_fixture.c tests/unit/dash_fixture.h
tests_unit_test_dash_ui_CPPFLAGS = $(dashboard_test_flags)
tests_unit_test_dash_ui_LDADD = $(dashboard_test_libs)
tests_unit_test_dash_view_SOURCES = tests/unit/test_dash_view.c tests/unit/dash_fixture.c tests/unit/dash_fixture.h
tests_unit_test_dash_view_CPPFLAGS = $(dashboard_test_flags)
tests_unit_test_dash_view_LDADD = $(dashboard_test_libs)
endif
endif
if HAVE_VTERM
check_PROGRAMS += tests/dashboard/vtdrive
tests_dashboard_vtdrive_SOURCES = tests/dashboard/vtdrive.c
tests_dashboard_vtdrive_CPPFLAGS = $(AM_CPPFLAGS) $(VTERM_CFLAGS)
tests_dashboard_vtdrive_LDADD = $(VTERM_LIBS)
if HAVE_NCURSES
TESTS += tests/integration/dashboard.py
endif
endif
EXTRA_DIST += tests/dashboard/driver.py tests/integration/dashboard.py
EXTRA_PROGRAMS += tests/bench/bench_dashboard
tests_bench_bench_dashboard_SOURCES = tests/bench/bench_dashboard.c tests/bench/hist.h
tests_bench_bench_dashboard_LDADD = libodto.la -lpthread
