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

# the manual page and the completions are made from the program's own tables
nodist_man_MANS = odto.1
odto.1: odto$(EXEEXT)
	$(AM_V_GEN)./odto$(EXEEXT) __man >$@.tmp && mv $@.tmp $@
bashcompletiondir = $(datadir)/bash-completion/completions
zshcompletiondir = $(datadir)/zsh/site-functions
fishcompletiondir = $(datadir)/fish/vendor_completions.d
nodist_bashcompletion_DATA = completion.d/odto
nodist_zshcompletion_DATA = completion.d/_odto
nodist_fishcompletion_DATA = completion.d/odto.fish
completion.d/odto completion.d/_odto completion.d/odto.fish: odto$(EXEEXT)
	@$(MKDIR_P) completion.d
	$(AM_V_GEN)case $@ in *.fish) s=fish ;; */_odto) s=zsh ;; *) s=bash ;; esac; \
	  ./odto$(EXEEXT) completion $$s >$@.tmp && mv $@.tmp $@
CLEANFILES += odto.1 completion.d/odto completion.d/_odto completion.d/odto.fish
