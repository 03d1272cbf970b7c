/* process_stats.h — figures of this process out of /proc/self. Any thread, no state. */
#ifndef ODTO_HOST_PROCESS_STATS_H
#define ODTO_HOST_PROCESS_STATS_H

typedef struct process_stats {
    double cpu_s;        /* user + system */
    double start_time_s; /* Unix time */
    double resident_bytes, virtual_bytes;
    double open_fds, max_fds, threads;
} process_stats;

/* What can't be read is 0 (proc(5): /proc/self/stat, /proc/self/fd, /proc/stat btime). */
void process_stats_read(process_stats *out);

#endif
