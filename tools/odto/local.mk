# odto: the command line, part of the top Makefile
bin_PROGRAMS += odto
odto_SOURCES = \
  tools/cmd_contracts.c tools/cmd_contracts.h \
  %D%/args.c \
  %D%/ask.c \
  %D%/cli.h \
  %D%/cmd_dlq.c \
  %D%/cmd_events.c \
  %D%/cmd_gate.c \
  %D%/cmd_host.c \
  %D%/cmd_jobs.c \
  %D%/cmd_submit.c \
  %D%/complete.c \
  %D%/help.c \
  %D%/http.c \
  %D%/jobs_input.c %D%/jobs_input.h \
  %D%/main.c \
  %D%/out.c
odto_CPPFLAGS = $(AM_CPPFLAGS) $(CURL_CFLAGS) $(JSONC_CFLAGS)
odto_LDADD = tools/dashboard/libdoctor.la libodto.la $(CURL_LIBS) $(JSONC_LIBS)
