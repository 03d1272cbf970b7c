/* cli.h — what the commands of `odto` share: options, output, HTTP, the control socket.
 *
 * One thread. A command gets its parsed options in a cli, prints to stdout, and returns an exit code of enum
 * cli_exit. With --json everything on stdout is JSON (one document, or one a line for streams) and errors are
 * one JSON object on stderr. All text from outside is stripped of control characters before a terminal sees
 * it. */
#ifndef ODTO_CLI_H
#define ODTO_CLI_H

#include <odto/base.h>
#include <json-c/json.h>
#include <stdio.h>

typedef enum cli_exit {
    CLI_OK = 0,
    CLI_REFUSED = 1,     /* the request was refused, a job failed, a check found something */
    CLI_USAGE = 2,       /* wrong command line */
    CLI_UNREACHABLE = 3, /* no answer, or not ready */
    CLI_NOT_FOUND = 4,
    CLI_TIMEOUT = 5, /* --wait ran out */
} cli_exit;

/* What completes an argument in a shell. */
typedef enum cli_complete {
    COMPLETE_NONE,
    COMPLETE_FILE,
    COMPLETE_STATUS,
    COMPLETE_LEVEL,
    COMPLETE_PLUGIN, /* asks the running host */
    COMPLETE_TOPIC,  /* likewise */
    COMPLETE_SHELL,
    COMPLETE_WHEN,
} cli_complete;

typedef struct cli_option {
    const char *name; /* without dashes */
    char letter;      /* 0: none */
    const char *arg;  /* NULL: a flag */
    const char *help;
    cli_complete complete;
} cli_option;

typedef struct cli cli;

typedef struct cli_command {
    const char *name; /* "dlq list" */
    const char *args; /* "[ID…]" */
    const char *summary;
    const char *details; /* paragraphs of --help, may be NULL */
    const cli_option *options;
    size_t n_options;
    cli_complete complete;
    int min_args, max_args; /* positional; max -1: any number */
    int (*run)(cli *c);
    int (*raw)(int argc, char **argv); /* instead: gets the command line from the last word of name on */
} cli_command;

extern const cli_command cli_commands[];
extern const size_t cli_n_commands;
extern const cli_option cli_globals[];
extern const size_t cli_n_globals;

#define CLI_MAX_OPTIONS 32
#define CLI_MAX_SOCKETS 16

struct cli {
    const cli_command *command;
    struct {
        const cli_option *option;
        const char *value;
    } given[CLI_MAX_OPTIONS];
    size_t n_given;
    char **argv; /* positional */
    int argc;
    bool json, color, tty;
    int width; /* of the terminal, 0 when there is none */
    const char *gateway, *read_model;
    const char *sockets[CLI_MAX_SOCKETS];
    size_t n_sockets;
    int64_t timeout_ns; /* of one request */
    void *curl;         /* reused connection */
    char default_socket[4200];
};

/* ---- options (args.c) ---- */

/* The last value given; NULL when not given. Flags give "". */
const char *cli_get(const cli *c, const char *name);
/* Reads them; *out keeps its value when the option was not given. False: reported. */
bool cli_get_int(cli *c, const char *name, int64_t min, int64_t max, int64_t *out);
bool cli_get_duration(cli *c, const char *name, int64_t *ns);
/* Parses a command line. CLI_OK: run c->command (with its own argv from *rest on, for raw commands); -1: done
 * already (help, version), else an exit code. */
int cli_parse(cli *c, int argc, char **argv, int *rest);
const cli_command *cli_find(int argc, char **argv, int *words);

/* ---- help (help.c) ---- */
void cli_help(FILE *out);
void cli_help_command(const cli_command *k, FILE *out);
void cli_version(FILE *out);

/* ---- output (out.c) ---- */
typedef enum cli_style { PLAIN, DIM, BOLD, GREEN, YELLOW, RED, CYAN } cli_style;

/* Prints what went wrong to stderr and returns code. */
int cli_error(const cli *c, cli_exit code, const odto_error *err);
int cli_failf(const cli *c, cli_exit code, const char *hint, const char *fmt, ...) ODTO_PRINTF(4, 5);
/* Prints a JSON tree as a line. */
void cli_json(struct json_object *o);
/* Appends s, safe for a terminal: no control characters, valid UTF-8, lines joined. */
void cli_clean(odto_buf *b, const char *s);
cli_style cli_state_style(const char *state);
void cli_print_style(const cli *c, cli_style s, const char *text);

typedef struct cli_table cli_table;
/* Columns "NAME" or ">NAME" (numbers, to the right), NULL-terminated. NULL without memory. */
cli_table *table_new(const cli *c, const char *const *columns);
void table_cell(cli_table *t, cli_style style, const char *fmt, ...) ODTO_PRINTF(3, 4);
/* Prints and frees; a table without rows prints `none` instead. */
void table_print(cli_table *t, const char *none);

/* "14:05:01" of today, "Mar 03 14:05" of this year … of an RFC 3339 text in local time; returns buf. */
const char *cli_time(const char *rfc3339, char *buf, size_t size);
const char *cli_millis(int64_t ms, char *buf, size_t size); /* "12ms" "3.4s" "2m05s" "3h12m" "4d3h" */
const char *cli_bytes(int64_t n, char *buf, size_t size);   /* "512" "1.5K" "3.2M" */

/* ---- JSON trees (out.c) ---- */
struct json_object *jget(struct json_object *o, const char *key);
const char *jstr(struct json_object *o, const char *key); /* "" when absent */
int64_t jint(struct json_object *o, const char *key);
bool jbool(struct json_object *o, const char *key);
struct json_object *jarray(struct json_object *o, const char *key, size_t *n); /* n = 0 when absent */

/* ---- HTTP (http.c) ---- */
typedef struct http_reply {
    long status;
    odto_buf body;
    long retry_after_s;
} http_reply;

/* One request; content_type NULL: no body. 0 when any answer came, else -errno with err filled. */
int http_ask(cli *c, const char *method, const char *base, const char *path, const char *content_type,
             odto_slice body, http_reply *reply, odto_error *err);
/* GET and parse. CLI_OK, or an exit code after having printed the error. */
int http_get_json(cli *c, const char *base, const char *path, struct json_object **out);
/* The same with a POST of a JSON text. */
int http_post_json(cli *c, const char *base, const char *path, const char *body, struct json_object **out);
/* Prints the error of an answer that was not 2xx, and gives the exit code it means. */
int http_refused(const cli *c, const http_reply *reply);
/* GET that goes on until the server ends it; fn gets the bytes as they come, false ends. */
int http_stream(cli *c, const char *base, const char *path, const char *const *headers, size_t n_headers,
                bool (*fn)(void *arg, odto_slice data), void *arg, long *status, odto_error *err);
/* Percent-encodes (RFC 3986 unreserved stay). */
void http_put_query(odto_buf *path, const char *name, const char *value);
void cli_close(cli *c);

/* ---- control socket (ask.c) ---- */
/* Asks the first socket; args may be NULL (taken over). CLI_OK with *data (may be NULL), or an exit code
 * after having printed the refusal; *data is also set when a refusal brings some. */
int control_ask(cli *c, const char *verb, struct json_object *args, struct json_object **data);
int control_ask_at(cli *c, const char *socket, const char *verb, struct json_object *args, int64_t timeout_ns,
                   struct json_object **data);

/* ---- commands ---- */
int cmd_submit(cli *c);
int cmd_job_show(cli *c);
int cmd_jobs(cli *c);
int cmd_stats(cli *c);
int cmd_stats_rebuild(cli *c);
int cmd_events(cli *c);
int cmd_tail(cli *c);
int cmd_status(cli *c);
int cmd_health(cli *c);
int cmd_plugins(cli *c);
int cmd_routes(cli *c);
int cmd_reload(cli *c);
int cmd_change(cli *c); /* enable, disable, drain */
int cmd_log_level(cli *c);
int cmd_text(cli *c);   /* metrics, print */
int cmd_simple(cli *c); /* stop, reopen-log */
int cmd_dlq_list(cli *c);
int cmd_dlq_show(cli *c);
int cmd_dlq_change(cli *c); /* requeue, purge */
int cmd_completion(cli *c);
int cmd_complete(cli *c);
int cmd_help(cli *c);
int cmd_man(cli *c);
int cmd_gate(int argc, char **argv);

#endif
