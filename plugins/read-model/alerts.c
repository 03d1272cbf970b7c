/* alerts.c — POST /webhook/alerts takes Alertmanager's webhook, GET /alerts gives what it said last.
 *
 * At most alerts_kept alerts of at most ALERT_MAX bytes are kept, one per fingerprint, the oldest goes first.
 * Blocking routes; alerts.lock protects the ring. */
#include "read_model.h"

#include <odto/json.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#define ALERT_MAX ((size_t)16 * 1024)
#define MAX_DEPTH 32

typedef struct alert {
    uint64_t key; /* of its fingerprint, or its labels */
    char *text;
} alert;

struct alerts {
    read_model *rm;
    char *expected; /* "Basic …"; NULL: no password is set */
    odto_metric *received, *refused;
    pthread_mutex_t lock;
    size_t max, n;
    alert list[]; /* newest first */
};

/* ---- the list ---------------------------------------------------------------------------------- */

/* text is taken over. */
static void remember(alerts *a, uint64_t key, char *text)
{
    pthread_mutex_lock(&a->lock);
    size_t at = 0;
    while (at < a->n && a->list[at].key != key)
        at++;
    if (at == a->n && a->n < a->max)
        a->list[a->n++].text = NULL;
    else if (at == a->n)
        at--;
    free(a->list[at].text);
    memmove(&a->list[1], &a->list[0], at * sizeof a->list[0]);
    a->list[0] = (alert){key, text};
    pthread_mutex_unlock(&a->lock);
}

static uint64_t alert_key(struct json_object *o)
{
    struct json_object *v = NULL;
    if (!json_object_object_get_ex(o, "fingerprint", &v) && !json_object_object_get_ex(o, "labels", &v))
        v = o;
    const char *text = json_object_to_json_string_ext(v, JSON_C_TO_STRING_PLAIN);
    return text ? odto_hash64(text, strlen(text)) : 0;
}

/* One alert of a webhook or of a saved list. False: too long, or no object. */
static bool take(alerts *a, struct json_object *o, const char *received_at)
{
    if (!json_object_is_type(o, json_type_object))
        return false;
    uint64_t key = alert_key(o);
    if (received_at)
        json_object_object_add(o, "receivedAt", json_object_new_string(received_at));
    size_t n = 0;
    const char *text =
        json_object_to_json_string_length(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n);
    char *copy = text && n <= ALERT_MAX ? odto_slice_dup(odto_slice_of(text, n)) : NULL;
    if (copy)
        remember(a, key, copy);
    return copy != NULL;
}

void alerts_write(alerts *a, odto_buf *out)
{
    odto_buf_put(out, "[", 1);
    pthread_mutex_lock(&a->lock);
    for (size_t i = 0; i < a->n; i++) {
        if (i)
            odto_buf_put(out, ",", 1);
        odto_buf_str(out, a->list[i].text);
    }
    pthread_mutex_unlock(&a->lock);
    odto_buf_put(out, "]", 1);
}

int alerts_restore(alerts *a, odto_slice array, odto_error *err)
{
    struct json_object *list = NULL;
    int rc = odto_json_parse(array, MAX_DEPTH + 4, &list, err);
    if (rc != 0)
        return rc;
    size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
    while (n > 0) /* oldest first */
        take(a, json_object_array_get_idx(list, --n), NULL);
    json_object_put(list);
    return 0;
}

/* ---- routes ------------------------------------------------------------------------------------ */

static bool authorized(alerts *a, odto_http_request *rq)
{
    const odto_http_api *http = a->rm->host->api->http;
    if (!a->expected) {
        http->reply_error(rq, 403, "Webhook disabled", "/",
                          "set webhook_password in the manifest's section of the read model", 0);
        return false;
    }
    if (odto_equal_secret(http->header(rq, "authorization"), odto_slice_str(a->expected)))
        return true;
    static const odto_http_header challenge = {"WWW-Authenticate", "Basic realm=\"odto\", charset=\"UTF-8\""};
    http->reply(rq, 401, &challenge, 1, odto_slice_str("{\"error\":\"Unauthorized\"}"), NULL, NULL);
    return false;
}

static void answer(alerts *a, odto_http_request *rq, struct json_object *list)
{
    char now[25];
    odto_time_format(a->rm->host->api->unix_ms(a->rm->host), now);
    size_t n = json_object_array_length(list), taken = 0;
    for (size_t i = n; i > 0; i--) /* the first of the list ends up as the newest */
        taken += take(a, json_object_array_get_idx(list, i - 1), now);
    odto_metric_add(a->received, (int64_t)taken);
    odto_metric_add(a->refused, (int64_t)(n - taken));
    odto_buf b = {0};
    odto_buf_printf(&b, "{\"status\":\"ok\",\"received\":%zu}", taken);
    reply_json(a->rm, rq, &b, false);
}

void alerts_post(void *self, odto_http_request *rq)
{
    alerts *a = ((read_model *)self)->alerts;
    const odto_http_api *http = a->rm->host->api->http;
    struct json_object *body = NULL, *list = NULL;
    odto_error err = {0};
    if (!authorized(a, rq))
        return;
    if (odto_json_parse(http->body(rq), MAX_DEPTH, &body, &err) != 0) {
        http->reply_error(rq, 400, "Invalid JSON", "/", err.detail[0] ? err.detail : err.message, 0);
        return;
    }
    if (!json_object_is_type(body, json_type_object))
        http->reply_error(rq, 400, "Invalid webhook", "/", "must be object", 0);
    else if (!json_object_object_get_ex(body, "alerts", &list))
        http->reply_error(rq, 400, "Invalid webhook", "/", "must have required property 'alerts'", 0);
    else if (!json_object_is_type(list, json_type_array))
        http->reply_error(rq, 400, "Invalid webhook", "/alerts", "must be array", 0);
    else
        answer(a, rq, list);
    json_object_put(body);
}

void alerts_get(void *self, odto_http_request *rq)
{
    read_model *rm = self;
    odto_buf b = {0};
    alerts_write(rm->alerts, &b);
    reply_json(rm, rq, &b, false);
}

/* ---- life -------------------------------------------------------------------------------------- */

static int expect(alerts *a, const char *user, const char *password)
{
    odto_buf plain = {0};
    odto_buf_printf(&plain, "%s:%s", user, password);
    size_t n = 4 * ((plain.n + 2) / 3) + 1;
    a->expected = plain.failed ? NULL : malloc(6 + n);
    if (a->expected) {
        memcpy(a->expected, "Basic ", 6);
        odto_base64(plain.p, plain.n, a->expected + 6);
    }
    if (plain.p)
        explicit_bzero(plain.p, plain.n);
    odto_buf_free(&plain);
    return a->expected ? 0 : -ENOMEM;
}

int alerts_new(read_model *rm, alerts **out, odto_error *err)
{
    size_t max = (size_t)odto_config_int(rm->config, "alerts_kept");
    alerts *a = calloc(1, sizeof *a + max * sizeof a->list[0]);
    if (!a)
        return odto_fail(err, -ENOMEM, "no memory for %zu alerts (option alerts_kept)", max);
    a->rm = rm;
    a->max = max;
    pthread_mutex_init(&a->lock, NULL);
    const char *password = odto_config_str(rm->config, "webhook_password");
    const odto_host_api *api = rm->host->api;
    a->received = api->metric(rm->host, ODTO_COUNTER, "odto_read_model_alerts_total",
                              "Alerts received from Alertmanager.", NULL, NULL, NULL, 0);
    a->refused = api->metric(rm->host, ODTO_COUNTER, "odto_read_model_alerts_refused_total",
                             "Alerts that were too long or no objects.", NULL, NULL, NULL, 0);
    if ((password && *password && expect(a, odto_config_str(rm->config, "webhook_user"), password) != 0) ||
        !a->received || !a->refused) {
        alerts_free(a);
        return odto_fail(err, -ENOMEM, "no memory for alerts");
    }
    *out = a;
    return 0;
}

void alerts_free(alerts *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < a->n; i++)
        free(a->list[i].text);
    if (a->expected)
        explicit_bzero(a->expected, strlen(a->expected));
    free(a->expected);
    pthread_mutex_destroy(&a->lock);
    free(a);
}
