# contracts: libodto, the library of what crosses a boundary; part of the top Makefile.
# libodto.la is linked into the host, every plugin and every tool; libodto.a is the same for plugins built elsewhere.
noinst_LTLIBRARIES += libodto.la
libodto_la_SOURCES = \
  %D%/src/algo.c \
  %D%/src/buf.c \
  %D%/src/envelope.c \
  %D%/src/error.c \
  %D%/src/json.c \
  %D%/src/json_check.c \
  %D%/src/plugin.c \
  %D%/src/random.c \
  %D%/src/scan.h \
  %D%/src/time.c \
  %D%/src/uuid.c
libodto_la_CPPFLAGS = $(AM_CPPFLAGS) $(JSONC_CFLAGS) $(PCRE2_CFLAGS)
libodto_la_LIBADD = $(JSONC_LIBS) $(PCRE2_LIBS)

# for plugins built elsewhere: the objects are position independent already
sdklibdir = $(libdir)
sdklib_DATA = .libs/libodto.a
.libs/libodto.a: libodto.la
