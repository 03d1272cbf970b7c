/* tls.c — TLS to the server (rediss://). hiredis 0.14 has none, so OpenSSL carries the bytes on the socket
 * that hiredis connected, and hiredis makes and reads the protocol. Blocking, as conn.c; the socket's time
 * limits hold. Called by the thread that owns the connection. */
#include "store_redis.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

static const char *reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *text = code != 0 ? ERR_reason_error_string(code) : NULL;
    return text != NULL ? text : "no reason is known";
}

static bool given(const char *option)
{
    return option != NULL && option[0] != '\0';
}

/* Trust and identity. Files are read for each connection: those that were renewed hold from the next on. */
static int read_files(const rs_tls_options *o, SSL_CTX *ctx, odto_error *err)
{
    const char *wrong = NULL, *file = NULL;
    if (o->verify && given(o->ca_file) && SSL_CTX_load_verify_locations(ctx, o->ca_file, NULL) != 1)
        wrong = "ca_file: can't read certificates from", file = o->ca_file;
    else if (o->verify && !given(o->ca_file) && SSL_CTX_set_default_verify_paths(ctx) != 1)
        wrong = "can't read the system's certificates from", file = X509_get_default_cert_dir();
    else if (given(o->cert_file) && SSL_CTX_use_certificate_chain_file(ctx, o->cert_file) != 1)
        wrong = "cert_file: can't read a certificate from", file = o->cert_file;
    else if (given(o->cert_file) && SSL_CTX_use_PrivateKey_file(ctx, o->key_file, SSL_FILETYPE_PEM) != 1)
        wrong = "key_file: no key of that certificate in", file = o->key_file;
    if (wrong == NULL)
        return 0;
    odto_fail(err, -EINVAL, "%s %s", wrong, file);
    odto_error_detail(err, "%s", reason());
    return -EINVAL;
}

static SSL_CTX *context(const rs_tls_options *o, odto_error *err)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (ctx == NULL) {
        odto_fail(err, -ENOMEM, "no memory for TLS");
        return NULL;
    }
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_verify(ctx, o->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (read_files(o, ctx, err) == 0)
        return ctx;
    SSL_CTX_free(ctx);
    return NULL;
}

/* The name the certificate must have, which the server is also told (an address is not: RFC 6066, section 3).
 */
static bool expect_name(SSL *tls, const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    if (inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls), host) == 1;
    return SSL_set1_host(tls, host) == 1 && SSL_set_tlsext_host_name(tls, host) == 1;
}

static void refused(const rs_store *s, SSL *tls, int result, odto_error *err)
{
    int failure = SSL_get_error(tls, result), saved = errno;
    long verdict = SSL_get_verify_result(tls);
    odto_fail(err, -EAGAIN, "%s: no TLS connection", s->what);
    if (s->tls.verify && verdict != X509_V_OK) {
        odto_error_detail(err, "%s", X509_verify_cert_error_string(verdict));
        odto_error_hint(
            err, "ca_file must hold the authority of the server's certificate, and its names the host of "
                 "the url");
    } else if (failure == SSL_ERROR_WANT_READ || failure == SSL_ERROR_WANT_WRITE) {
        odto_error_detail(err, "nothing came within %d ms", s->timeout_ms);
        odto_error_hint(err, "is this the server's tls-port?");
    } else {
        odto_error_detail(err, "%s",
                          ERR_peek_last_error() != 0 ? reason()
                          : saved != 0               ? strerror(saved)
                                                     : "the server closed the connection");
        odto_error_hint(
            err, "is this the server's tls-port, and does it ask for a client's certificate (cert_file, "
                 "key_file)?");
    }
}

SSL *rs_tls_open(const rs_store *s, int fd, odto_error *err)
{
    ERR_clear_error();
    errno = 0;
    SSL_CTX *ctx = context(&s->tls, err);
    if (ctx == NULL)
        return NULL;
    SSL *tls = SSL_new(ctx);
    SSL_CTX_free(ctx); /* tls holds it */
    if (tls == NULL || SSL_set_fd(tls, fd) != 1 || !expect_name(tls, s->address.host)) {
        odto_fail(err, -ENOMEM, "no memory for TLS");
        SSL_free(tls);
        return NULL;
    }
    int result = SSL_connect(tls);
    if (result == 1)
        return tls;
    refused(s, tls, result, err);
    SSL_free(tls);
    return NULL;
}

/* Marks the connection as broken, in hiredis' words. */
static redisReply *lost(redisContext *c, SSL *tls, int result)
{
    int failure = SSL_get_error(tls, result);
    if (failure == SSL_ERROR_WANT_READ || failure == SSL_ERROR_WANT_WRITE) {
        c->err = REDIS_ERR_IO;
        errno = EAGAIN; /* the socket's time limit */
    } else if (failure == SSL_ERROR_ZERO_RETURN || (failure == SSL_ERROR_SYSCALL && errno == 0)) {
        c->err = REDIS_ERR_EOF;
        snprintf(c->errstr, sizeof(c->errstr), "the server closed the connection");
    } else {
        c->err = failure == SSL_ERROR_SYSCALL ? REDIS_ERR_IO : REDIS_ERR_OTHER;
        snprintf(c->errstr, sizeof(c->errstr), "TLS: %s",
                 failure == SSL_ERROR_SYSCALL ? strerror(errno) : reason());
    }
    return NULL;
}

static redisReply *garbage(redisContext *c)
{
    c->err = c->reader->err;
    snprintf(c->errstr, sizeof(c->errstr), "%s", c->reader->errstr);
    return NULL;
}

redisReply *rs_tls_command(redisContext *c, SSL *tls, int argc, const char **argv, const size_t *lengths)
{
    char *command = NULL, part[16384]; /* a TLS record's most */
    void *reply = NULL;
    int n = redisFormatCommandArgv(&command, argc, argv, lengths);
    if (n < 0) {
        c->err = REDIS_ERR_OOM;
        snprintf(c->errstr, sizeof(c->errstr), "no memory");
        return NULL;
    }
    ERR_clear_error();
    errno = 0;
    int done = SSL_write(tls, command, n);
    redisFreeCommand(command);
    while (done > 0 && reply == NULL) {
        if (redisReaderGetReply(c->reader, &reply) != REDIS_OK)
            return garbage(c);
        if (reply == NULL && (done = SSL_read(tls, part, sizeof(part))) > 0 &&
            redisReaderFeed(c->reader, part, (size_t)done) != REDIS_OK)
            return garbage(c);
    }
    return done > 0 ? reply : lost(c, tls, done);
}
