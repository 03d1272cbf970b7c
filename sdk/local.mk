# sdk: what authors of plugins get beside the headers: the test library; part of the top Makefile.
# libodto-test.la is linked into this tree's unit tests; libodto-test.a is the same for plugins built elsewhere.
pkginclude_HEADERS += %D%/include/odto/test.h
noinst_LTLIBRARIES += libodto-test.la
libodto_test_la_SOURCES = \
  %D%/src/config.c \
  %D%/src/events.c \
  %D%/src/http.c \
  %D%/src/internal.h \
  %D%/src/memory.c \
  %D%/src/test.c \
  %D%/src/threads.c \
  %D%/src/watch.c
sdk_cppflags = $(AM_CPPFLAGS) -I$(srcdir)/%D%/include
libodto_test_la_CPPFLAGS = $(sdk_cppflags)
# a parameter of glibc's malloc is promised not to be NULL, of ours too: no warnings about the builtin's prototype
sdklib_DATA += .libs/libodto-test.a
.libs/libodto-test.a: libodto-test.la
