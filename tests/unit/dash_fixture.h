/* dash_fixture — a ui with fixed time, fixed data and effects that are only counted. */
#ifndef DASH_FIXTURE_H
#define DASH_FIXTURE_H

#include "ui.h"

#define FIX_NOW INT64_C(1785506400000) /* 2026-07-31T14:00:00Z */

typedef struct fixture {
    ui ui;
    caps caps;
    grid grid;
    int quits, refreshes, submits, launches, cancels, shutdowns, checks, installs, opens;
    char detail[64], type[128], payload[9000], copied[300], url[300], command[300];
    bool no_clipboard;
} fixture;

/* A ui on the dashboard with n jobs, two alerts, six plugins, three queues. */
fixture *fixture_new(int jobs, bool utf8, int colors);
void fixture_free(fixture *f);
/* The snapshot that fixture_new shows; one reference. */
snapshot *fixture_snapshot(int jobs);
void fixture_keys(fixture *f, const char *keys);
/* The picture as text, in a static buffer. */
const char *fixture_text(fixture *f);
job_detail *fixture_detail(const job *j);

#endif
