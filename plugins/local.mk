# plugins: part of the top Makefile
include plugins/bridges/local.mk
include plugins/handlers/local.mk
include plugins/processor/local.mk
include plugins/stores/common/local.mk
include plugins/stores/sqlite/local.mk
include plugins/stores/redis/local.mk
include plugins/stores/mongo/local.mk
include plugins/stores/postgres/local.mk
include plugins/services.mk
if HAVE_LWS
if HAVE_VTERM
include plugins/pty/local.mk
endif
endif
# plugins: part of the top Makefile. plugins.d holds links to what was built, so that a host in the build tree finds it.
all-local: plugins.d/.made
plugins.d/.made: $(plugins_LTLIBRARIES) $(top_srcdir)/plugins/handlers/trusted
	@$(MKDIR_P) plugins.d
	@for la in $(plugins_LTLIBRARIES); do \
	  so=$$(dirname $$la)/.libs/$$(basename $$la .la).so; $(LN_S) -f ../$$so plugins.d/; done
	@cp $(top_srcdir)/plugins/handlers/trusted plugins.d/trusted
	@touch $@
clean-local:
	rm -rf plugins.d
