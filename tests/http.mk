# the HTTP server's tests: helper, unit tests, integration scripts
if HAVE_CHECK
check_PROGRAMS += tests/helpers/http_echo tests/unit/test_http
TESTS += tests/unit/test_http
endif
tests_unit_test_http_SOURCES = tests/unit/test_http.c
tests_unit_test_http_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/host $(MHD_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_http_LDADD = libhosthttp.la libhostops.la libodto.la $(CHECK_LIBS)
tests_helpers_http_echo_SOURCES = tests/helpers/http_echo.c
tests_helpers_http_echo_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/host $(MHD_CFLAGS)
tests_helpers_http_echo_LDADD = libhosthttp.la libhostops.la libodto.la
http_tests_py = tests/integration/http_requests.py tests/integration/http_limits.py tests/integration/http_swap.py
if HAVE_LWS
http_tests_py += tests/integration/http_ws.py
endif
TESTS += $(http_tests_py)
dist_check_SCRIPTS += $(http_tests_py)
EXTRA_DIST += tests/lib/http_peer.py
EXTRA_DIST += tests/bench/bench_http.sh
