/* main.c — the commands of `odto`: the table, and what runs them. */
#include "cli.h"

#include "../cmd_contracts.h"
#include "../dashboard/doctor.h"
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <odto/control.h>

#define COUNT(a)   (sizeof(a) / sizeof((a)[0]))
#define OPTIONS(a) .options = a, .n_options = COUNT(a)

const cli_option cli_globals[] = {
    {"json", 'j', NULL, "JSON on standard output, errors as JSON on standard error", COMPLETE_NONE},
    {"gateway", 0, "URL", "gateway ($GATEWAY_URL, http://127.0.0.1:3000)", COMPLETE_NONE},
    {"read-model", 0, "URL", "read model ($READ_MODEL_URL, http://127.0.0.1:8080)", COMPLETE_NONE},
    {"socket", 's', "PATH", "control socket of the host ($ODTO_SOCKET, else in its data directory)",
     COMPLETE_FILE},
    {"timeout", 0, "TIME", "for one request (10s; changes of a host: 5m)", COMPLETE_NONE},
    {"color", 0, "WHEN", "auto, always or never (auto; $NO_COLOR)", COMPLETE_WHEN},
    {"help", 'h', NULL, "this text", COMPLETE_NONE},
    {"version", 'V', NULL, "version and exit", COMPLETE_NONE},
};
const size_t cli_n_globals = COUNT(cli_globals);

static const cli_option submit_options[] = {
    {"payload", 'p', "JSON", "payload of the job; @FILE reads it from a file", COMPLETE_FILE},
    {"id", 0, "UUID", "id of the job; a repeated one is the same job (default: a new one)", COMPLETE_NONE},
    {"file", 'f', "FILE", "jobs from a file: one JSON object, an array, or one a line; - is standard input",
     COMPLETE_FILE},
    {"count", 'n', "N", "submit the same job N times, each with its own id", COMPLETE_NONE},
    {"priority", 0, "N", "higher goes first", COMPLETE_NONE},
    {"delay", 0, "TIME", "not before this long from now", COMPLETE_NONE},
    {"attempts", 0, "N", "most attempts", COMPLETE_NONE},
    {"run-timeout", 0, "TIME", "longest an attempt may take", COMPLETE_NONE},
    {"wait", 'w', NULL, "wait until the jobs have ended and tell how", COMPLETE_NONE},
    {"wait-timeout", 0, "TIME", "give up waiting after this time (5m)", COMPLETE_NONE},
    {"quiet", 'q', NULL, "print only the ids", COMPLETE_NONE},
};
static const cli_option jobs_options[] = {
    {"status", 0, "STATUS", "only jobs in this state", COMPLETE_STATUS},
    {"type", 't', "TYPE", "only jobs of this type", COMPLETE_NONE},
    {"limit", 'n', "N", "at most this many (20)", COMPLETE_NONE},
    {"cursor", 0, "CURSOR", "go on from a former page", COMPLETE_NONE},
    {"all", 'a', NULL, "all pages", COMPLETE_NONE},
};
static const cli_option events_options[] = {
    {"job", 0, "UUID", "only events of this job", COMPLETE_NONE},
    {"limit", 'n', "N", "at most this many (20)", COMPLETE_NONE},
    {"follow", 'f', NULL, "live events, until interrupted", COMPLETE_NONE},
    {"after", 0, "ID", "with --follow: go on after this event id of the stream", COMPLETE_NONE},
};
static const cli_option tail_options[] = {
    {"limit", 'n', "N", "end after this many events", COMPLETE_NONE},
};
static const cli_option dlq_list_options[] = {
    {"topic", 't', "TOPIC", "only this dead letter topic", COMPLETE_TOPIC},
    {"limit", 'n', "N", "at most this many (50)", COMPLETE_NONE},
};
static const cli_option dlq_change_options[] = {
    {"topic", 't', "TOPIC", "with --all: only this dead letter topic", COMPLETE_TOPIC},
    {"all", 'a', NULL, "all dead letters", COMPLETE_NONE},
    {"yes", 'y', NULL, "do not ask", COMPLETE_NONE},
};
static const cli_option log_level_options[] = {
    {"plugin", 'p', "NAME", "only this plugin", COMPLETE_PLUGIN},
};

static const cli_option reload_options[] = {
    {"wait", 'w', NULL, "wait for the verdicts (it always does)", COMPLETE_NONE},
};

static int run_doctor(int argc, char **argv)
{
    static char name[] = "odto doctor";
    argv[0] = name;
    return doctor_main(argc, argv);
}

const cli_command cli_commands[] = {
    {.name = "submit",
     .args = "[TYPE]",
     .summary = "submit jobs",
     .details =
         "One job by TYPE and options, or any number with --file. Missing ids, states and times\n"
         "are filled in. A request that finds the gateway full or away is repeated with the same\n"
         "ids, so nothing is done twice.\n"
         "    odto submit echo -p '{\"text\":\"hello\"}' --wait\n"
         "    seq 100 | sed 's/.*/{\"type\":\"echo\",\"payload\":{\"n\":&}}/' | odto submit -f - --wait",
     OPTIONS(submit_options),
     .max_args = 1,
     .run = cmd_submit},
    {.name = "job show",
     .args = "ID…",
     .summary = "one job with its attempts",
     .min_args = 1,
     .max_args = -1,
     .run = cmd_job_show},
    {.name = "jobs",
     .args = "",
     .summary = "list jobs, newest first",
     OPTIONS(jobs_options),
     .run = cmd_jobs},
    {.name = "events",
     .args = "",
     .summary = "list events, newest first, or follow them",
     .details = "--follow reads the read model's server-sent events, and comes back where it was\n"
                "after an interruption.",
     OPTIONS(events_options),
     .run = cmd_events},
    {.name = "stats rebuild",
     .args = "",
     .summary = "count the event log anew into the counters",
     .details =
         "For counters that were lost or are doubted. Events may come in meanwhile: each counts once. Where\n"
         "counters and events are in two stores the counters start from zero and grow until it is done.\n"
         "Events that were deleted by retention count no more.",
     .run = cmd_stats_rebuild},
    {.name = "stats", .args = "", .summary = "counters of jobs", .run = cmd_stats},
    {.name = "status",
     .args = "",
     .summary = "state of the host; --socket may be given several times",
     .run = cmd_status},
    {.name = "health", .args = "", .summary = "readiness of the host and each plugin", .run = cmd_health},
    {.name = "plugins",
     .args = "[NAME]",
     .summary = "plugins and their state",
     .complete = COMPLETE_PLUGIN,
     .max_args = 1,
     .run = cmd_plugins},
    {.name = "routes", .args = "", .summary = "routes, their depth and counters", .run = cmd_routes},
    {.name = "tail",
     .args = "[TOPIC]",
     .summary = "events as they pass through the host",
     OPTIONS(tail_options),
     .complete = COMPLETE_TOPIC,
     .max_args = 1,
     .run = cmd_tail},
    {.name = "dlq list",
     .args = "",
     .summary = "dead letters",
     OPTIONS(dlq_list_options),
     .run = cmd_dlq_list},
    {.name = "dlq show",
     .args = "ID…",
     .summary = "one dead letter with its reason",
     .min_args = 1,
     .max_args = -1,
     .run = cmd_dlq_show},
    {.name = "dlq requeue",
     .args = "[ID…]",
     .summary = "send dead letters to their topic again",
     OPTIONS(dlq_change_options),
     .max_args = -1,
     .run = cmd_dlq_change},
    {.name = "dlq purge",
     .args = "[ID…]",
     .summary = "forget dead letters",
     OPTIONS(dlq_change_options),
     .max_args = -1,
     .run = cmd_dlq_change},
    {.name = "reload",
     .args = "[NAME]",
     .summary = "take over a changed manifest and changed plugins",
     OPTIONS(reload_options),
     .details = "Checks the whole manifest first; an error changes nothing. Waits for the verdict of\n"
                "each plugin: exit 0 when all run as the manifest says, 1 when one was rolled back or\n"
                "refused.",
     .complete = COMPLETE_PLUGIN,
     .max_args = 1,
     .run = cmd_reload},
    {.name = "enable",
     .args = "NAME",
     .summary = "start a plugin",
     .complete = COMPLETE_PLUGIN,
     .min_args = 1,
     .max_args = 1,
     .run = cmd_change},
    {.name = "disable",
     .args = "NAME",
     .summary = "drain and stop a plugin",
     .complete = COMPLETE_PLUGIN,
     .min_args = 1,
     .max_args = 1,
     .run = cmd_change},
    {.name = "drain",
     .args = "[NAME]",
     .summary = "take nothing new, finish what is in hand",
     .complete = COMPLETE_PLUGIN,
     .max_args = 1,
     .run = cmd_change},
    {.name = "log-level",
     .args = "LEVEL",
     .summary = "set the log level: debug, info, warn, error, default",
     OPTIONS(log_level_options),
     .complete = COMPLETE_LEVEL,
     .min_args = 1,
     .max_args = 1,
     .run = cmd_log_level},
    {.name = "reopen-log", .args = "", .summary = "open the log file anew", .run = cmd_simple},
    {.name = "metrics", .args = "", .summary = "all metrics of the host", .run = cmd_text},
    {.name = "print", .args = "", .summary = "the effective manifest, secrets masked", .run = cmd_text},
    {.name = "stop", .args = "", .summary = "end the host in order", .run = cmd_simple},
    {.name = "doctor",
     .args = "[OPTION…]",
     .summary = "can this machine run odto, and what is missing",
     .raw = run_doctor},
    {.name = "gate", .args = "[OPTION…]", .summary = "check a running system end to end", .raw = cmd_gate},
    {.name = "contracts",
     .args = "validate --schema S FILE…",
     .summary = "check documents against the contract's schemas; also: list, show NAME",
     .raw = cmd_contracts},
    {.name = "completion",
     .args = "SHELL",
     .summary = "completion for bash, zsh or fish",
     .details = "    odto completion bash > ~/.local/share/bash-completion/completions/odto\n"
                "    odto completion zsh > ~/.zfunc/_odto\n"
                "    odto completion fish > ~/.config/fish/completions/odto.fish",
     .complete = COMPLETE_SHELL,
     .min_args = 1,
     .max_args = 1,
     .run = cmd_completion},
    {.name = "help", .args = "[COMMAND…]", .summary = "help on a command", .max_args = 2, .run = cmd_help},
    {.name = "__man", .args = "", .run = cmd_man},
    {.name = "__complete", .args = "WHAT", .min_args = 1, .max_args = 1, .run = cmd_complete},
};
const size_t cli_n_commands = COUNT(cli_commands);

static bool wants_color(const char *when)
{
    const char *term = getenv("TERM"), *no = getenv("NO_COLOR");
    if (when && strcmp(when, "always") == 0)
        return true;
    if (when && strcmp(when, "never") == 0)
        return false;
    return isatty(STDOUT_FILENO) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

static const char *setting(const char *given, const char *env, const char *fallback)
{
    const char *v = given ? given : getenv(env);
    return v && *v ? v : fallback;
}

static int set_up(cli *c)
{
    char dir[4096];
    struct winsize size;
    const char *when = cli_get(c, "color");
    c->json = cli_get(c, "json") != NULL;
    c->tty = isatty(STDOUT_FILENO);
    c->color = wants_color(when) && !c->json;
    if (c->tty && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
        c->width = size.ws_col;
    if (when && strcmp(when, "auto") != 0 && strcmp(when, "always") != 0 && strcmp(when, "never") != 0)
        return cli_failf(c, CLI_USAGE, "auto, always and never are allowed", "--color: \"%s\"", when);
    c->gateway = setting(cli_get(c, "gateway"), "GATEWAY_URL", "http://127.0.0.1:3000");
    c->read_model = setting(cli_get(c, "read-model"), "READ_MODEL_URL", "http://127.0.0.1:8080");
    snprintf(c->default_socket, sizeof(c->default_socket), "%s/%s", odto_default_data_dir(dir, sizeof(dir)),
             ODTO_CONTROL_SOCKET);
    for (size_t i = 0; i < c->n_given; i++) {
        if (strcmp(c->given[i].option->name, "socket") == 0 && c->n_sockets < CLI_MAX_SOCKETS)
            c->sockets[c->n_sockets++] = c->given[i].value;
    }
    if (c->n_sockets == 0)
        c->sockets[c->n_sockets++] = setting(NULL, "ODTO_SOCKET", c->default_socket);
    return cli_get_duration(c, "timeout", &c->timeout_ns) ? CLI_OK : CLI_USAGE;
}

int main(int argc, char **argv)
{
    cli c = {0};
    int rest = 0;
    setlocale(LC_CTYPE, ""); /* widths of characters; numbers stay as in C */
    signal(SIGPIPE, SIG_DFL);
    int code = cli_parse(&c, argc - 1, argv + 1, &rest);
    if (code < 0)
        return CLI_OK;
    if (code == CLI_OK && c.command->raw)
        return c.command->raw(argc - 1 - rest, argv + 1 + rest);
    if (code == CLI_OK)
        code = set_up(&c);
    if (code == CLI_OK)
        code = c.command->run(&c);
    cli_close(&c);
    if (fflush(stdout) != 0 || ferror(stdout))
        return cli_failf(&c, CLI_REFUSED, NULL, "standard output: %s", strerror(errno));
    return code;
}
