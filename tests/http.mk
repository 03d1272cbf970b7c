# the HTTP server's tests: helper, unit tests, integration scripts
if HAVE_CHECK
check_PROGRAMS += tests/helpers/http_echo
endif
tests_helpers_http_echo_SOURCES = tests/helpers/http_echo.c
tests_helpers_http_echo_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/host $(MHD_CFLAGS)
tests_helpers_http_echo_LDADD = libhosthttp.la libodto.la
