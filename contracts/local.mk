# contracts: libodto, the library of what crosses a boundary; part of the top Makefile.
# libodto.la is linked into the host, every plugin and every tool; libodto.a is the same for plugins built elsewhere.
pkginclude_HEADERS += \
  %D%/include/odto/base.h \
  %D%/include/odto/control.h \
  %D%/include/odto/envelope.h \
  %D%/include/odto/event.h \
  %D%/include/odto/handler.h \
  %D%/include/odto/host.h \
  %D%/include/odto/http.h \
  %D%/include/odto/json.h \
  %D%/include/odto/plugin.h \
  %D%/include/odto/schema.h \
  %D%/include/odto/store.h

noinst_LTLIBRARIES += libodto.la
libodto_la_SOURCES = \
  %D%/src/algo.c \
  %D%/src/buf.c \
  %D%/src/embedded.h \
  %D%/src/control.c \
  %D%/src/envelope.c \
  %D%/src/envelope_check.c \
  %D%/src/error.c \
  %D%/src/json.c \
  %D%/src/json_check.c \
  %D%/src/paths.c \
  %D%/src/plugin.c \
  %D%/src/random.c \
  %D%/src/scan.h \
  %D%/src/schema.c \
  %D%/src/schema_apply.c \
  %D%/src/schema_compile.c \
  %D%/src/schema_eval.c \
  %D%/src/schema_format.c \
  %D%/src/schema_node.h \
  %D%/src/schema_refs.c \
  %D%/src/schema_regex.c \
  %D%/src/schema_text.c \
  %D%/src/schema_value.c \
  %D%/src/store.c \
  %D%/src/time.c \
  %D%/src/uuid.c
nodist_libodto_la_SOURCES = \
  %D%/src/embedded_openapi.c \
  %D%/src/embedded_registry.c \
  %D%/src/embedded_schemas.c
libodto_la_CPPFLAGS = $(AM_CPPFLAGS) -I$(srcdir)/%D%/src $(JSONC_CFLAGS) $(PCRE2_CFLAGS)
libodto_la_LIBADD = $(JSONC_LIBS) $(PCRE2_LIBS) -lm

# for plugins built elsewhere: the objects are position independent already
sdklibdir = $(libdir)
sdklib_DATA = .libs/libodto.a
.libs/libodto.a: libodto.la

# ---- documents: installed as files, and inside the library -----------------------------------
schemasdir = $(pkgdatadir)/schemas
dist_schemas_DATA = \
  %D%/schemas/dead-letter.json \
  %D%/schemas/event-envelope.json \
  %D%/schemas/job-accepted.json \
  %D%/schemas/job.json
openapidir = $(pkgdatadir)/openapi
dist_openapi_DATA = %D%/openapi/gateway.json %D%/openapi/read-model.json
registrydir = $(pkgdatadir)
dist_registry_DATA = %D%/ui-registry.json
EXTRA_DIST += %D%/README.md %D%/embed.awk %D%/VERSIONS.md %D%/check-versions.py %D%/released %D%/fixtures
CLEANFILES += $(nodist_libodto_la_SOURCES)

odto_embed = $(AM_V_GEN)$(MKDIR_P) %D%/src && cd $(srcdir) && $(AWK) -f %D%/embed.awk
odto_embedded = >$(abs_builddir)/$@.tmp && mv $(abs_builddir)/$@.tmp $(abs_builddir)/$@

%D%/src/embedded_schemas.c: $(dist_schemas_DATA) %D%/embed.awk
	$(odto_embed) -v table=embedded_schemas $(dist_schemas_DATA) $(odto_embedded)
%D%/src/embedded_openapi.c: $(dist_openapi_DATA) %D%/embed.awk
	$(odto_embed) -v table=embedded_openapi $(dist_openapi_DATA) $(odto_embedded)
%D%/src/embedded_registry.c: $(dist_registry_DATA) %D%/embed.awk
	$(odto_embed) -v table=embedded_registry $(dist_registry_DATA) $(odto_embedded)
