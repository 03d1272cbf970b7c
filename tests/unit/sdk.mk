# unit tests of the test library
if HAVE_CHECK
check_PROGRAMS += tests/unit/test_sdk
TESTS += tests/unit/test_sdk
endif
tests_unit_test_sdk_SOURCES = tests/unit/test_sdk.c
tests_unit_test_sdk_CPPFLAGS = $(sdk_cppflags) $(CHECK_CFLAGS)
tests_unit_test_sdk_LDADD = libodto-test.la libodto.la $(CHECK_LIBS)
