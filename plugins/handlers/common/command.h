/* command.h — what the handlers exec and pipe have in common: the options of a command, its environment, and
 * the captured end of an output. */
#ifndef HANDLERS_COMMAND_H
#define HANDLERS_COMMAND_H

#include "spawn.h"
#include <odto/plugin.h>

/* Entries of an option table. */
#define COMMAND_OPTIONS                                                                                  \
    {.name = "command",                                                                                  \
     .type = ODTO_OPT_ARGV,                                                                              \
     .flags = ODTO_OPTION_REQUIRED,                                                                      \
     .help = "Program and arguments, never run by a shell. A name without slash is searched in PATH, a " \
             "relative path starts at the manifest's folder."},                                          \
        {.name = "env", .type = ODTO_OPT_LIST, .help = "Variables for the child, NAME=value."},          \
        {.name = "env_pass",                                                                             \
         .type = ODTO_OPT_LIST,                                                                          \
         .help = "Variables of the host that the child may see; no others are inherited."},              \
        {.name = "cwd",                                                                                  \
         .type = ODTO_OPT_PATH,                                                                          \
         .help = "Working directory of the child (default: the manifest's folder)."},                    \
        {.name = "grace",                                                                                \
         .type = ODTO_OPT_DURATION,                                                                      \
         .default_value = "2s",                                                                          \
         .max = 300 * ODTO_SEC,                                                                          \
         .help = "From SIGTERM to SIGKILL of the child's whole group."},                                 \
        {.name = "max_output",                                                                           \
         .type = ODTO_OPT_SIZE,                                                                          \
         .default_value = "256k",                                                                        \
         .min = 1024,                                                                                    \
         .max = 16777216,                                                                                \
         .help = "Bytes of a job's result; what is more is cut and noted in its log."},                  \
        {.name = "max_log",                                                                              \
         .type = ODTO_OPT_SIZE,                                                                          \
         .default_value = "16k",                                                                         \
         .min = 256,                                                                                     \
         .max = 1048576,                                                                                 \
         .help = "Bytes of stderr that are kept as a job's log: the last ones."},                        \
        {.name = "rlimit_cpu",                                                                           \
         .type = ODTO_OPT_DURATION,                                                                      \
         .default_value = "0",                                                                           \
         .help = "CPU time of a child; 0: as the host."},                                                \
        {.name = "rlimit_memory",                                                                        \
         .type = ODTO_OPT_SIZE,                                                                          \
         .default_value = "0",                                                                           \
         .help = "Address space of a child; 0: as the host."},                                           \
        {.name = "rlimit_files",                                                                         \
         .type = ODTO_OPT_INT,                                                                           \
         .default_value = "1024",                                                                        \
         .max = 1048576,                                                                                 \
         .help = "Open files of a child; 0: as the host."},                                              \
        {.name = "rlimit_file_size",                                                                     \
         .type = ODTO_OPT_SIZE,                                                                          \
         .default_value = "0",                                                                           \
         .help = "Size of a file a child may write; 0: as the host."},                                   \
    {                                                                                                    \
        .name = "rlimit_processes", .type = ODTO_OPT_INT, .default_value = "0", .max = 1048576,          \
        .help = "Processes and threads of the child's user; 0: as the host."                             \
    }

typedef struct command {
    char *path;               /* of the program */
    const char *const *words; /* of the option, NULL-terminated; borrowed */
    size_t n_words;
    char **env; /* NULL-terminated; the last `spare` pointers are free for a job's variables */
    size_t n_env;
    char *folder; /* of the manifest */
    const char *cwd;
    int64_t grace_ns;
    size_t max_output, max_log;
    spawn_limit limits[SPAWN_LIMITS];
    size_t n_limits;
} command;

#define COMMAND_SPARE 8 /* variables a job may add */

/* Read and check the options: the program must exist. 0 or -errno with err. */
int command_init(command *c, const odto_config *config, odto_error *err);
void command_free(command *c);

/* A pipe whose `ours` end does not block; both closed on exec and not among 0, 1, 2. reading: we read. 0 or
 * -errno. */
int command_pipe(bool reading, int *ours, int *theirs);

/* The last bytes of an output. */
typedef struct tail {
    char *p;
    size_t cap, n, from; /* a ring: n bytes, the oldest at from */
    uint64_t total;
} tail;
void tail_init(tail *t, size_t cap);
void tail_free(tail *t);
void tail_clear(tail *t);
void tail_put(tail *t, const char *p, size_t n);
/* In order, without a character cut in half at the front; valid until the next tail_put. */
odto_slice tail_text(tail *t);

#endif
