/* fetch.h — HTTP requests of the gate, each answer kept as a file.
 *
 * One thread, blocking; libcurl. The artifact folder holds every request's answer in order
 * (003-POST-jobs.txt), so a failed gate can be looked at afterwards. */
#ifndef GATE_FETCH_H
#define GATE_FETCH_H

#include <odto/base.h>

struct json_object;

typedef struct fetcher {
    void *curl;
    char *folder; /* of the artifacts; NULL: none are kept */
    unsigned serial;
    long timeout_ms;
} fetcher;

typedef struct answer {
    long status;     /* 0: no answer, see error */
    char error[256]; /* why there is none */
    odto_buf body;
} answer;

/* 0 or -errno. folder may be NULL. */
int fetch_open(fetcher *f, const char *folder, long timeout_ms);
void fetch_close(fetcher *f);
/* GET, or POST of a JSON body. What was in *out before is freed. */
void fetch(fetcher *f, const char *base, const char *path, const char *post_body, answer *out);
/* The body as JSON (json_object_put), NULL when it is none. */
struct json_object *fetch_json(const answer *a);
void answer_free(answer *a);

#endif
