# code shared by plugins, linked into each (no plugin by itself)
noinst_LTLIBRARIES += libodto-docs.la
noinst_LTLIBRARIES += libodto-recount.la
libodto_recount_la_SOURCES = %D%/recount.c %D%/recount.h
libodto_docs_la_SOURCES = %D%/docs.c %D%/docs.h
nodist_libodto_docs_la_SOURCES = %D%/docs_data.c
EXTRA_DIST += %D%/embed.awk %D%/docs.html %D%/docs.css %D%/docs.js
CLEANFILES += %D%/docs_data.c
%D%/docs_data.c: $(srcdir)/%D%/embed.awk $(srcdir)/%D%/docs.html $(srcdir)/%D%/docs.css $(srcdir)/%D%/docs.js
	$(AM_V_GEN)$(MKDIR_P) %D% && $(AWK) -f $(srcdir)/%D%/embed.awk $(srcdir)/%D%/docs.html \
	  $(srcdir)/%D%/docs.css $(srcdir)/%D%/docs.js > $@-t && mv $@-t $@
