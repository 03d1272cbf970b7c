/* doctor — options and output; see doctor.h. */
#include "doctor.h"

#include "locate.h"
#include "text.h"

#include <curl/curl.h>
#include <getopt.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void usage(FILE *f, const char *name)
{
    fprintf(f,
            "usage: %s [options]\n"
            "Checks this machine: platform, programs, ports, servers, data directory, manifest.\n"
            "  --json           one JSON object a line\n"
            "  --cluster        the tools for the Kubernetes launcher are needed, not optional\n"
            "  --manifest FILE  check this manifest\n"
            "  --data-dir DIR   check this data directory\n"
            "  --no-color       no colours\n"
            "exit: 0 everything that is needed is there, 1 something is missing, 2 wrong usage\n",
            name);
}

static void print_json(const doctor_line *l)
{
    static const char *const words[] = {"OK", "WARN", "FAIL"};
    odto_buf b = {0};
    odto_buf_printf(&b, "{\"section\":\"%s\",\"name\":", l->section);
    odto_buf_jsonz(&b, l->name);
    odto_buf_printf(&b, ",\"verdict\":\"%s\",\"detail\":", words[l->verdict]);
    odto_buf_jsonz(&b, l->detail);
    odto_buf_str(&b, ",\"hint\":");
    odto_buf_jsonz(&b, l->hint);
    odto_buf_str(&b, ",\"install\":");
    odto_buf_jsonz(&b, l->install);
    odto_buf_str(&b, "}");
    if (!b.failed) {
        puts(b.p);
    }
    odto_buf_free(&b);
}

static void print_text(const doctor *d, const doctor_line *l)
{
    static const char *const words[] = {"[OK]", "[WARN]", "[FAIL]"};
    static const char *const colors[] = {"\033[32m", "\033[33m", "\033[31m"};
    printf("%s%-6s%s %-18s %s\n", d->color ? colors[l->verdict] : "", words[l->verdict],
           d->color ? "\033[0m" : "", l->name, l->detail);
    if (l->hint[0] && l->verdict != DOCTOR_OK) {
        printf("       %-18s %s\n", "", l->hint);
    }
}

void doctor_report(doctor *d, const doctor_line *l)
{
    doctor_line clean = *l;
    text_clean(clean.detail, sizeof clean.detail, l->detail);
    text_clean(clean.hint, sizeof clean.hint, l->hint);
    d->n++;
    d->warnings += l->verdict == DOCTOR_WARN;
    d->failures += l->verdict == DOCTOR_FAIL;
    bool missing = l->verdict != DOCTOR_OK && l->install[0];
    if (missing && d->n_installs < (int)(sizeof d->installs / sizeof d->installs[0])) {
        memcpy(d->installs[d->n_installs++], l->install, sizeof l->install);
    }
    if (d->json) {
        print_json(&clean);
    } else {
        print_text(d, &clean);
    }
    fflush(stdout);
}

static int parse_options(doctor *d, int argc, char **argv)
{
    static const struct option longs[] = {{"json", no_argument, NULL, 'j'},
                                          {"cluster", no_argument, NULL, 'k'},
                                          {"manifest", required_argument, NULL, 'm'},
                                          {"data-dir", required_argument, NULL, 'd'},
                                          {"no-color", no_argument, NULL, 'n'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int o;
    optind = 0; /* another getopt may have run before */
    while ((o = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        if (o == 'j') {
            d->json = true;
        } else if (o == 'k') {
            d->cluster = true;
        } else if (o == 'm') {
            snprintf(d->manifest, sizeof d->manifest, "%s", optarg);
        } else if (o == 'd') {
            snprintf(d->data_dir, sizeof d->data_dir, "%s", optarg);
        } else if (o == 'n') {
            d->color = false;
        } else if (o == 'h') {
            usage(stdout, argv[0]);
            return 1;
        } else {
            usage(stderr, argv[0]);
            return -1;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "%s: unexpected argument: %s\n", argv[0], argv[optind]);
        return -1;
    }
    return 0;
}

static void summary(const doctor *d)
{
    printf("\n%d checks: %d failed, %d warnings\n", d->n, d->failures, d->warnings);
    if (d->n_installs) {
        printf("\nTo install what is missing:\n");
        for (int i = 0; i < d->n_installs; i++) {
            printf("  %s\n", d->installs[i]);
        }
    }
}

int doctor_main(int argc, char **argv)
{
    doctor d = {0};
    const char *no = getenv("NO_COLOR");
    d.color = isatty(STDOUT_FILENO) && !(no && no[0]);
    int rc = parse_options(&d, argc, argv);
    if (rc) {
        return rc > 0 ? 0 : 2;
    }
    setlocale(LC_ALL, "");
    curl_global_init(CURL_GLOBAL_DEFAULT);
    doctor_platform(&d);
    doctor_programs(&d);
    doctor_manifest(&d);
    doctor_data(&d);
    doctor_ports(&d);
    doctor_servers(&d);
    if (!d.json) {
        summary(&d);
    }
    return d.failures ? 1 : 0;
}
