# the web plugin, and its page. A release contains the built page (dist/); a clone builds it with npm.
web_sources = %D%/client.c %D%/fetch.c %D%/files.c %D%/gate.c %D%/relay.c %D%/upstream.c %D%/web.c %D%/web.h
web_page_sources = \
  %D%/page/build.mjs \
  %D%/page/favicon.svg \
  %D%/page/index.html \
  %D%/page/package-lock.json \
  %D%/page/package.json \
  %D%/page/src/connection.js \
  %D%/page/src/fallback.js \
  %D%/page/src/login.js \
  %D%/page/src/main.js \
  %D%/page/src/protocol.js \
  %D%/page/src/styles.js \
  %D%/page/src/terminal.js \
  %D%/page/src/tools.js \
  %D%/page/style.css
EXTRA_DIST += %D%/embed.awk %D%/make-page %D%/page/.npmrc $(web_page_sources) %D%/dist
if HAVE_LWS
plugins_LTLIBRARIES += web.la
web_la_SOURCES = $(web_sources)
nodist_web_la_SOURCES = %D%/files_data.c
web_la_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir) $(LWS_CFLAGS)
web_la_LDFLAGS = $(plugin_ldflags)
web_la_LIBADD = libodto.la $(LWS_LIBS) -lpthread
endif
CLEANFILES += %D%/files_data.c
%D%/files_data.c: %D%/dist/files.list $(srcdir)/%D%/embed.awk
	$(AM_V_GEN)list=`test -f %D%/dist/files.list && echo %D%/dist/files.list || echo $(srcdir)/%D%/dist/files.list`; \
	  $(MKDIR_P) %D% && dir=`cd $$(dirname $$list) && pwd` && \
	  $(AWK) -v dir="$$dir" -f $(srcdir)/%D%/embed.awk $$list > $@-t && mv $@-t $@
%D%/dist/files.list: $(web_page_sources)
	$(AM_V_GEN)$(SHELL) $(srcdir)/%D%/make-page $(page_mode) $(abs_srcdir)/%D%/page $(abs_builddir)/%D%/page.work $(abs_builddir)/%D%/dist
# the folder goes into the archive: made first, also by a bare `make dist`
%D%/dist: %D%/dist/files.list
	@:
.PHONY: page
page:
	rm -f %D%/dist/files.list
	$(MAKE) $(AM_MAKEFLAGS) %D%/dist/files.list
	$(MAKE) $(AM_MAKEFLAGS)
# an archive without the page would be a release that needs npm
dist-hook: page-in-archive
page-in-archive:
	@test -s $(distdir)/%D%/dist/bundle.js || { echo "make dist needs the page of the web plugin: install Node.js and npm, configure and make again" >&2; exit 1; }
clean-local: clean-page
clean-page:
	rm -rf %D%/page.work
maintainer-clean-local:
	rm -rf %D%/dist
