/* reference.h — the manifest reference (docs/manifest.md) made from the option tables. */
#ifndef ODTO_HOST_REFERENCE_H
#define ODTO_HOST_REFERENCE_H

#include "options.h"

/* Syntax and the host's sections, as Markdown. */
void reference_host(FILE *out);
/* One plugin: "### NAME", its summary, topics and options. */
void reference_plugin(const odto_plugin *p, FILE *out);

#endif
