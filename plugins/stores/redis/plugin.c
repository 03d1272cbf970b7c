/* plugin.c — the redis store as a plugin: options, start and stop, health. init() only keeps the
 * configuration; the server is asked from start() on, and need not be there then. */
#include "store_redis.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const odto_option options[] = {
    {.name = "url",
     .type = ODTO_OPT_STRING,
     .default_value = "127.0.0.1:6379",
     .flags = ODTO_OPTION_SECRET,
     .env = "REDIS_URL",
     .help = "The server: host:port or redis://user:password@host:port/0, rediss:// for TLS."},
    {.name = "user", .type = ODTO_OPT_STRING, .help = "User name, where the url has none."},
    {.name = "password",
     .type = ODTO_OPT_STRING,
     .flags = ODTO_OPTION_SECRET,
     .env = "REDIS_PASSWORD",
     .help = "Password, where the url has none."},
    {.name = "ca_file",
     .type = ODTO_OPT_PATH,
     .help = "TLS: certificates of the authorities to trust; by default the system's."},
    {.name = "cert_file", .type = ODTO_OPT_PATH, .help = "TLS: this client's certificate."},
    {.name = "key_file", .type = ODTO_OPT_PATH, .help = "TLS: the key of that certificate."},
    {.name = "verify",
     .type = ODTO_OPT_BOOL,
     .default_value = "yes",
     .help = "TLS: check the server's certificate and name."},
    {.name = "timeout",
     .type = ODTO_OPT_DURATION,
     .default_value = "3s",
     .min = 10 * ODTO_MS,
     .max = 60 * ODTO_SEC,
     .help = "How long a connection or a reply may take before the server counts as away."},
    {.name = "dedup_window",
     .type = ODTO_OPT_DURATION,
     .default_value = "1d",
     .min = ODTO_SEC,
     .max = INT64_C(366) * 86400 * ODTO_SEC,
     .help = "So long the ids of counted events are kept; an event delivered again after that counts again."},
    {.name = "dedup_ids",
     .type = ODTO_OPT_INT,
     .default_value = "1000000",
     .min = 1000,
     .max = 100000000,
     .help = "At most so many ids of counted events are kept (about 100 bytes each on the server)."},
    {.name = "max_batch",
     .type = ODTO_OPT_INT,
     .default_value = "1024",
     .min = 1,
     .max = 16384,
     .help = "At most so many events in one call."},
    {.name = "max_queue",
     .type = ODTO_OPT_INT,
     .default_value = "65536",
     .min = 1,
     .max = 16777216,
     .help = "At most so many events waiting; more are refused for the moment."},
};

static const write_queue_ops queue_ops = {
    .connect = rs_queue_connect,
    .apply = rs_queue_apply,
    .disconnect = rs_queue_disconnect,
    .upkeep = rs_queue_upkeep,
};

static int read_address(const odto_config *c, rs_address *out, odto_error *err)
{
    rs_address a;
    int code = rs_address_parse(odto_config_str(c, "url"), &a, err);
    if (code != 0) {
        odto_error_where(err, c->file, odto_config_get(c, "url")->line, odto_config_get(c, "url")->column);
        return code;
    }
    const char *user = odto_config_str(c, "user"), *password = odto_config_str(c, "password");
    if (a.user == NULL && user != NULL && user[0] != '\0')
        a.user = strdup(user);
    if (a.password == NULL && password != NULL && password[0] != '\0')
        a.password = strdup(password);
    if (a.user != NULL && a.password == NULL) {
        rs_address_free(&a);
        odto_fail(err, -EINVAL, "a user of the Redis server is given, but no password");
        odto_error_hint(err, "put it into REDIS_PASSWORD or REDIS_URL");
        return -EINVAL;
    }
    *out = a;
    return 0;
}

/* Both or neither. */
static int check_certificate(const odto_config *c, odto_error *err)
{
    const char *cert = odto_config_str(c, "cert_file"), *key = odto_config_str(c, "key_file");
    bool lone = (cert != NULL && cert[0] != '\0') != (key != NULL && key[0] != '\0');
    return lone ? odto_fail(err, -EINVAL, "cert_file and key_file are given together") : 0;
}

static int check_config(const odto_config *c, odto_error *err)
{
    rs_address a;
    int code = check_certificate(c, err);
    if (code == 0)
        code = read_address(c, &a, err);
    if (code == 0)
        rs_address_free(&a);
    return code;
}

static void fini(void *self)
{
    rs_store *s = self;
    write_queue_fini(&s->queue);
    pthread_mutex_destroy(&s->read_lock);
    rs_address_free(&s->address);
    s->magic = 0;
    free(s);
}

static int init(odto_host *h, const odto_config *c, void **self, odto_error *err)
{
    rs_store *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return odto_fail(err, -ENOMEM, "no memory for the store");
    int code = read_address(c, &s->address, err);
    if (code != 0) {
        free(s);
        return code;
    }
    s->magic = RS_MAGIC;
    s->host = h;
    s->config = c;
    s->tls = (rs_tls_options){.ca_file = odto_config_str(c, "ca_file"),
                              .cert_file = odto_config_str(c, "cert_file"),
                              .key_file = odto_config_str(c, "key_file"),
                              .verify = odto_config_bool(c, "verify")};
    s->timeout_ms = (int)(odto_config_int(c, "timeout") / ODTO_MS);
    s->window_ms = odto_config_int(c, "dedup_window") / ODTO_MS;
    s->max_ids = odto_config_int(c, "dedup_ids");
    snprintf(s->what, sizeof(s->what), "redis at %s:%d", s->address.host, s->address.port);
    s->queue = (write_queue){.host = h,
                             .what = s->what,
                             .ops = &queue_ops,
                             .store = s,
                             .max_queue = (size_t)odto_config_int(c, "max_queue"),
                             .max_batch = (size_t)odto_config_int(c, "max_batch")};
    if (write_queue_init(&s->queue) != 0 || pthread_mutex_init(&s->read_lock, NULL) != 0) {
        rs_address_free(&s->address);
        free(s);
        return odto_fail(err, -ENOMEM, "no memory for the locks of the store");
    }
    *self = s;
    return 0;
}

static int start(void *self, odto_error *err)
{
    rs_store *s = self;
    return write_queue_start(&s->queue, s->config->instance, err);
}

static void health(void *self, odto_health *out)
{
    rs_store *s = self;
    write_queue_health(&s->queue, out);
}

static int quiesce(void *self, int64_t deadline_ns)
{
    rs_store *s = self;
    return write_queue_drain(&s->queue, deadline_ns);
}

static void stop(void *self)
{
    rs_store *s = self;
    write_queue_stop(&s->queue);
    rs_reader_close(s);
}

static const odto_plugin_ops ops = {
    .size = sizeof(ops),
    .check_config = check_config,
    .init = init,
    .start = start,
    .health = health,
    .quiesce = quiesce,
    .stop = stop,
    .fini = fini,
};

static const odto_counters_ops counters = {
    .size = sizeof(counters),
    .add = rs_add,
    .read = rs_read,
    .set = rs_set,
};

static const odto_store_iface iface = {
    .size = sizeof(iface),
    .flags = ODTO_STORE_SHARED,
    .counters = &counters,
};

ODTO_PLUGIN_DEFINE(
    "redis", PACKAGE_VERSION, ODTO_KIND_STORE,
    .summary = "Counters on a Redis server: each event counted once, in one atomic step a batch.",
    .options = options, .n_options = sizeof(options) / sizeof(options[0]), .ops = &ops, .store = &iface);
