/* process_stats.c — see process_stats.h. */
#include "process_stats.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* The 1-based field of /proc/self/stat; p stands behind the command's closing bracket, which ends field 2. */
static double stat_field(const char *p, int field)
{
    for (int i = 2; p && i < field; i++) {
        p = strchr(p, ' ');
        p = p ? p + 1 : NULL;
    }
    return p ? strtod(p, NULL) : 0;
}

static double count_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    if (!d)
        return 0;
    double n = -1; /* the folder's own */
    for (const struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

/* Start in ticks since boot → Unix time. */
static double start_time(double ticks, double hz)
{
    struct timespec real, boot;
    clock_gettime(CLOCK_REALTIME, &real);
    clock_gettime(CLOCK_BOOTTIME, &boot);
    return (double)(real.tv_sec - boot.tv_sec) + (double)(real.tv_nsec - boot.tv_nsec) / 1e9 + ticks / hz;
}

static void read_stat(process_stats *out)
{
    char text[1024];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    const char *p = strrchr(text, ')');
    if (!p)
        return;
    double hz = (double)sysconf(_SC_CLK_TCK);
    out->threads = stat_field(p, 20);
    out->start_time_s = start_time(stat_field(p, 22), hz);
    out->virtual_bytes = stat_field(p, 23);
    out->resident_bytes = stat_field(p, 24) * (double)sysconf(_SC_PAGESIZE);
}

void process_stats_read(process_stats *out)
{
    memset(out, 0, sizeof(*out));
    read_stat(out);
    struct timespec cpu;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0)
        out->cpu_s = (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        out->max_fds = (double)limit.rlim_cur;
    out->open_fds = count_fds();
}
