/* breaker.c — the circuit breaker of each host (http.h): after so many failures in a row nothing is sent for
 * a while, then a single call finds out whether it is back; the pause doubles as long as it is not. */
#include "http.h"
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAUSE_MAX (300 * ODTO_SEC)
#define DAY_S     86400

/* A free entry, or the one not used for longest. */
static breaker *make_room(breakers *b)
{
    breaker *oldest = NULL;
    if (b->n < BREAKER_HOSTS)
        return &b->at[b->n++];
    for (size_t i = 0; i < b->n; i++)
        if (!b->at[i].calls && (!oldest || b->at[i].used_ns < oldest->used_ns))
            oldest = &b->at[i];
    return oldest;
}

breaker *breaker_of(breakers *b, const char *host, int64_t now_ns)
{
    if (!b->limit || (!b->at && !(b->at = calloc(BREAKER_HOSTS, sizeof *b->at))))
        return NULL;
    breaker *of = NULL;
    for (size_t i = 0; i < b->n && !of; i++)
        if (!strcmp(b->at[i].host, host))
            of = &b->at[i];
    if (!of && (of = make_room(b))) {
        *of = (breaker){0};
        snprintf(of->host, sizeof of->host, "%s", host);
    }
    if (of)
        of->used_ns = now_ns;
    return of;
}

int64_t breaker_enter(const breakers *b, breaker *of, int64_t now_ns)
{
    if (!of)
        return 0;
    bool open = of->failures >= b->limit;
    if (open && now_ns < of->open_until_ns)
        return of->open_until_ns - now_ns;
    if (open && of->probing)
        return of->pause_ns;
    of->probing = open;
    of->calls++;
    return 0;
}

void breaker_leave(const breakers *b, breaker *of, enum breaker_said said, int64_t now_ns)
{
    if (!of)
        return;
    bool was_open = of->failures >= b->limit, was_probing = of->probing;
    of->calls--;
    of->probing = was_probing && of->calls > 0 && said != BREAKER_WELL;
    if (said == BREAKER_WELL)
        of->failures = 0, of->pause_ns = 0;
    if (said != BREAKER_FAILED)
        return;
    of->failures++;
    if (of->failures < b->limit || (was_open && !was_probing))
        return; /* calls that were under way when it opened tell nothing new */
    of->probing = false;
    of->pause_ns = of->pause_ns ? of->pause_ns * 2 : b->pause_ns;
    if (of->pause_ns > PAUSE_MAX)
        of->pause_ns = PAUSE_MAX;
    of->open_until_ns = now_ns + of->pause_ns;
}

int64_t retry_after(odto_slice value, int64_t now_unix_s)
{
    char text[64], *end;
    while (value.n && (*value.p == ' ' || *value.p == '\t')) {
        value.p++;
        value.n--;
    }
    if (!value.n || value.n >= sizeof text)
        return 0;
    memcpy(text, value.p, value.n);
    text[value.n] = '\0';
    long long seconds = strtoll(text, &end, 10);
    if (end == text || (*end && *end != ' ' && *end != '\r')) {
        time_t at = curl_getdate(text, NULL);
        seconds = at < 0 ? 0 : (long long)at - now_unix_s;
    }
    if (seconds <= 0)
        return 0;
    return (seconds < DAY_S ? seconds : DAY_S) * ODTO_SEC;
}
