# odto-gate, the integration gate; tools/gate runs it from the sources
bin_PROGRAMS += odto-gate
odto_gate_SOURCES = %D%/gate.c %D%/fetch.c %D%/fetch.h
odto_gate_CPPFLAGS = $(AM_CPPFLAGS) $(JSONC_CFLAGS) $(CURL_CFLAGS)
odto_gate_LDADD = libodto.la $(JSONC_LIBS) $(CURL_LIBS)
EXTRA_DIST += tools/gate
