/* http_listen.c — opening a listening socket: address, bind, and who else has the port.
 *
 * Called under no lock from the thread that serves or configures; pure but for the socket it returns. */
#include "http_priv.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* "127.0.0.1:3000", "[::1]:3000", "localhost:3000", "*:3000" */
static int address_parse(const char *text, struct sockaddr_storage *out, socklen_t *len, odto_error *err)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    char *end = NULL;
    long port = colon ? strtol(colon + 1, &end, 10) : -1;
    size_t n = colon ? (size_t)(colon - text) : 0;
    if (!colon || !isdigit((unsigned char)colon[1]) || *end || port > 65535 || n >= sizeof(host))
        return odto_fail(err, -EINVAL, "'%s' is not HOST:PORT", text);
    memcpy(host, text, n);
    host[n] = 0;
    memset(out, 0, sizeof(*out));
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    if (!strcmp(host, "localhost") || !n)
        strcpy(host, "127.0.0.1");
    if (!strcmp(host, "*"))
        strcpy(host, "0.0.0.0");
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        *len = sizeof(*v4);
        return 0;
    }
    n = strlen(host);
    if (host[0] == '[' && host[n - 1] == ']') {
        host[n - 1] = 0;
        if (inet_pton(AF_INET6, host + 1, &v6->sin6_addr) == 1) {
            v6->sin6_family = AF_INET6;
            v6->sin6_port = htons((uint16_t)port);
            *len = sizeof(*v6);
            return 0;
        }
    }
    odto_fail(err, -EINVAL, "'%s' is not an address to listen on", text);
    odto_error_hint(err, "Give an IP address and a port, for instance 127.0.0.1:3000 or [::1]:3000");
    return -EINVAL;
}

/* Inode of the socket that listens on the port, from /proc/net/tcp or tcp6; 0: none seen. */
static unsigned long listening_inode(const char *file, int port)
{
    char line[512];
    unsigned long inode = 0;
    FILE *f = fopen(file, "re");
    if (!f)
        return 0;
    while (!inode && fgets(line, sizeof(line), f)) {
        unsigned local_port, state;
        unsigned long found;
        if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*u %*d %lu", &local_port,
                   &state, &found) == 3 &&
            state == 0x0A && local_port == (unsigned)port)
            inode = found;
    }
    fclose(f);
    return inode;
}

static bool process_has(const char *pid, const char *link)
{
    char path[300], target[64];
    snprintf(path, sizeof(path), "/proc/%s/fd", pid);
    DIR *d = opendir(path);
    bool found = false;
    for (struct dirent *e = NULL; d && !found && (e = readdir(d));) {
        ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);
        if (n > 0) {
            target[n] = 0;
            found = !strcmp(target, link);
        }
    }
    if (d)
        closedir(d);
    return found;
}

/* "process 1234 (nginx)" for who listens on the port; false when /proc does not tell. */
static bool port_owner(int port, char *out, size_t size)
{
    char link[64], path[300], name[32] = "";
    unsigned long inode = listening_inode("/proc/net/tcp", port);
    if (!inode)
        inode = listening_inode("/proc/net/tcp6", port);
    if (!inode)
        return false;
    snprintf(link, sizeof(link), "socket:[%lu]", inode);
    DIR *d = opendir("/proc");
    bool found = false;
    for (struct dirent *e = NULL; d && !found && (e = readdir(d));) {
        if (!isdigit((unsigned char)e->d_name[0]) || !process_has(e->d_name, link))
            continue;
        snprintf(path, sizeof(path), "/proc/%s/comm", e->d_name);
        FILE *f = fopen(path, "re");
        if (f && fgets(name, sizeof(name), f))
            name[strcspn(name, "\n")] = 0;
        if (f)
            fclose(f);
        snprintf(out, size, "process %.16s (%s)", e->d_name, name);
        found = true;
    }
    if (d)
        closedir(d);
    return found;
}

static int bind_failed(const char *address, int port, odto_error *err)
{
    int e = errno;
    char who[128];
    odto_fail(err, -e, "can't listen on %s: %s", address, strerror(e));
    if (e == EADDRINUSE) {
        if (port_owner(port, who, sizeof(who)))
            odto_error_detail(err, "port %d is in use by %s", port, who);
        else
            odto_error_detail(err, "port %d is in use by a process of another user or container", port);
        odto_error_hint(err, "Stop it, or give another port in the manifest");
    } else if (e == EADDRNOTAVAIL) {
        odto_error_hint(err, "This machine has no such address");
    } else if (e == EACCES) {
        odto_error_hint(err, "Ports below 1024 need CAP_NET_BIND_SERVICE");
    }
    return -e;
}

static int socket_open(http_listener *ln, odto_error *err)
{
    int one = 1, zero = 0;
    int port = ntohs(ln->addr.ss_family == AF_INET ? ((struct sockaddr_in *)&ln->addr)->sin_port
                                                   : ((struct sockaddr_in6 *)&ln->addr)->sin6_port);
    ln->fd = socket(ln->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (ln->fd < 0)
        return odto_fail(err, -errno, "can't make a socket for %s: %s", ln->address, strerror(errno));
    setsockopt(ln->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (ln->addr.ss_family == AF_INET6)
        setsockopt(ln->fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
    if (bind(ln->fd, (struct sockaddr *)&ln->addr, ln->addr_len) || listen(ln->fd, SOMAXCONN))
        return bind_failed(ln->address, port, err);
    getsockname(ln->fd, (struct sockaddr *)&ln->addr, &ln->addr_len);
    ln->port = ntohs(ln->addr.ss_family == AF_INET ? ((struct sockaddr_in *)&ln->addr)->sin_port
                                                   : ((struct sockaddr_in6 *)&ln->addr)->sin6_port);
    return 0;
}

/* The whole of a small file, NUL-terminated. */
static int file_read(const char *path, char **out, odto_error *err)
{
    odto_buf b = {.max = 1 << 20};
    char chunk[4096];
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return odto_fail(err, -errno, "can't read %s: %s", path, strerror(errno));
    while ((n = read(fd, chunk, sizeof(chunk))) > 0)
        odto_buf_put(&b, chunk, (size_t)n);
    close(fd);
    if (n < 0 || b.failed || !b.p) {
        odto_buf_free(&b);
        return odto_fail(err, -EIO, "can't read %s", path);
    }
    *out = b.p;
    return 0;
}

static int options_set(http_listener *ln, const http_listener_options *o, odto_error *err)
{
    if (!o)
        return 0;
    if (o->max_connections)
        ln->max_connections = o->max_connections;
    bool cert = o->tls_cert && o->tls_cert[0], key = o->tls_key && o->tls_key[0];
    if (cert != key)
        return odto_fail(err, -EINVAL, "TLS on %s needs a certificate and a key", ln->address);
    if (o->auth_token && o->auth_token[0] && !(ln->auth_token = strdup(o->auth_token)))
        return odto_fail(err, -ENOMEM, "no memory");
    if (!cert)
        return 0;
    int r = file_read(o->tls_cert, &ln->tls_cert, err);
    return r ? r : file_read(o->tls_key, &ln->tls_key, err);
}

int listener_open(http_server *s, const char *address, const http_listener_options *o, http_listener **out,
                  odto_error *err)
{
    http_listener *ln = calloc(1, sizeof(*ln));
    if (!ln || !(ln->address = strdup(address)) ||
        !(ln->watches = calloc(s->config.threads, sizeof(ln->watches[0])))) {
        if (ln)
            free(ln->address);
        free(ln);
        return odto_fail(err, -ENOMEM, "no memory for a listener");
    }
    ln->server = s;
    ln->fd = -1;
    ln->max_connections = s->config.max_connections;
    int r = address_parse(address, &ln->addr, &ln->addr_len, err);
    if (!r)
        r = options_set(ln, o, err);
    if (!r)
        r = socket_open(ln, err);
    if (r) {
        listener_free(ln);
        return r;
    }
    *out = ln;
    return 0;
}

void listener_free(http_listener *ln)
{
    while (ln->mounts) {
        http_mount *m = ln->mounts;
        ln->mounts = m->next;
        mount_unref(m);
    }
    if (ln->fd >= 0)
        close(ln->fd);
    if (ln->auth_token)
        explicit_bzero(ln->auth_token, strlen(ln->auth_token));
    if (ln->tls_key)
        explicit_bzero(ln->tls_key, strlen(ln->tls_key));
    free(ln->auth_token);
    free(ln->tls_cert);
    free(ln->tls_key);
    free(ln->table);
    free(ln->watches);
    free(ln->address);
    free(ln);
}
