/* doctor — can this machine run odto, and what is missing: `odto doctor`, `odto-dashboard doctor`.
 *
 * Prints one line a check, [OK] [WARN] [FAIL] with versions, then install commands for this system; or one
 * JSON object a line with --json (the dashboard's prerequisites screen reads that). Runs in the calling
 * thread, every check bounded to about 2 s. */
#ifndef DASH_DOCTOR_H
#define DASH_DOCTOR_H

#include <odto/base.h>

/* argv[0] is the name shown ("odto doctor"). 0: all that is needed is there; 1: something is missing;
 * 2: wrong usage. Calls curl_global_init. */
int doctor_main(int argc, char **argv);

/* ---- between doctor.c and doctor_checks.c ---- */

typedef enum doctor_verdict {
    DOCTOR_OK,
    DOCTOR_WARN, /* optional, or not as good as it could be */
    DOCTOR_FAIL  /* needed and not there */
} doctor_verdict;

typedef struct doctor_line {
    const char *section, *name;
    doctor_verdict verdict;
    char detail[256];
    char hint[256];
    char install[200]; /* a command for this system; empty: none */
} doctor_line;

typedef struct doctor {
    bool json, cluster, color;
    char manifest[512], data_dir[512];
    int n, warnings, failures;
    char installs[16][200];
    int n_installs;
} doctor;

/* Counts and prints one line. */
void doctor_report(doctor *d, const doctor_line *l);
void doctor_platform(doctor *d);
void doctor_programs(doctor *d);
void doctor_ports(doctor *d);
void doctor_servers(doctor *d);
void doctor_data(doctor *d);
void doctor_manifest(doctor *d);

#endif
