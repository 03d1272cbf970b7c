#!/usr/bin/env python3
"""The counters store redis on a real Redis server: the role's cases, and a host whose server goes away."""
import os
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import subprocess
import tempfile
import urllib.parse

import odto
import rabbitmq
import redis
from odto import check, contains, equal, wait_until

suite = odto.Suite()
PASSWORD = "s3cret/@"


def auth_url(server, password=PASSWORD):
    return f"redis://:{urllib.parse.quote(password, safe='')}@{server.address}/0"


def host(server, **more):
    """Counters on the server, everything else embedded. The address comes by the environment."""
    return odto.Host({"store counters": {"module": "redis"}, "plugin metrics": {"counters": "counters"},
                      "plugin read-model": {"counters": "counters"}}, env={"REDIS_URL": server.url}, **more)


def counted(h, total):
    wait_until(lambda: h.stats()["totalJobs"] == total, 20, f"{total} jobs are counted")


@suite.test("the role's cases")
def _():
    with tempfile.TemporaryDirectory(prefix="odto-ca-") as ca:
        rabbitmq.authority(ca)
        with redis.Redis(tls=ca, args=["--tls-auth-clients", "no"]) as r, redis.Redis(password=PASSWORD) as a:
            env = {"TEST_REDIS": r.url, "TEST_REDIS_AUTH": auth_url(a)}
            odto.run_program("tests/unit/store_redis_cases", env)
            odto.run_program("tests/unit/store_redis_cases", {**env, "TEST_REDIS_TLS": f"rediss://localhost:{r.tls_port}",
                                                              "TEST_REDIS_CA": f"{ca}/ca.pem"})


@suite.test("jobs are counted under the contract's keys, and stay counted when host and server restart")
def _():
    with redis.Redis() as r:
        h = host(r)
        with h:
            for i in range(5):
                h.submit(type="fail" if i == 0 else "echo", options={"maxAttempts": 1})
            counted(h, 5)
            equal(r.counters(), (5, 4, 1), "metrics:jobs:*")
            equal(r.call("GET", "metrics:last_event_time").decode(), h.stats()["lastEventTime"])
            h.restart()
            r.restart()
            h.submit()
            counted(h, 6)


@suite.test("a server that is killed: not ready, nothing is lost, nothing counts twice")
def _():
    with redis.Redis() as r:
        with host(r) as h:
            h.submit()
            counted(h, 1)
            r.kill()
            wait_until(lambda: h.read_model.get("/readyz").status == 503, 20, "the host is not ready")
            contains(h.read_model.get("/readyz").text, "redis", "the reason")
            for _ in range(10):
                h.submit()
            wait_until(lambda: h.processor.metrics().get("processor_jobs_completed_total", 0) == 11, 20, "all are done")
            equal(h.read_model.get("/stats").status, 503, "/stats without its store")
            r.start()
            counted(h, 11)
            equal(r.counters(), (11, 11, 0))
            wait_until(lambda: h.read_model.ready(), 20, "the host is ready again")


@suite.test("a server that hangs in the middle of a batch: the batch in doubt counts once")
def _():
    with redis.Redis() as r:
        h = host(r)
        h.manifest["store counters"]["timeout"] = "300ms"
        with h:
            h.submit()
            counted(h, 1)
            r.freeze()
            for _ in range(20):
                h.submit()
            wait_until(lambda: h.read_model.get("/readyz").status == 503, 20, "the host is not ready")
            r.thaw()
            counted(h, 21)
            equal(r.counters(), (21, 21, 0))


@suite.test("a refused password is told once, with the server's name, without the password")
def _():
    with redis.Redis(password=PASSWORD) as r:
        h = host(r, wait=False)
        h.env["REDIS_URL"] = auth_url(r, "wr0ng")
        h.start()
        try:
            wait_until(lambda: h.read_model.get("/readyz").status == 503 and "WRONGPASS" in h.log, 20, "it is told")
            wait_until(lambda: h.log.count("WRONGPASS") >= 1, 5, "a line")
            told = [x for x in h.log.splitlines() if "WRONGPASS" in x and "counters: redis at" in x or "store/writer" in x]
            check(len(told) <= 2, f"told once: {told}")
            contains(h.log, f"redis at {r.address}", "the log")
            contains(h.log, "REDIS_URL", "the log")
            check("wr0ng" not in h.log, "the log holds the password")
            check("wr0ng" not in h.odto("status", "--json").stdout, "status holds the password")
        finally:
            h.kill()
            h.cleanup()


def refusal(settings, *reasons):
    """A host with such a store is not ready for these reasons."""
    with odto.Host({"store counters": {"module": "redis", **settings}, "plugin read-model": {"counters": "counters"},
                    "plugin metrics": {"counters": "counters"}}, wait=False) as h:
        wait_until(lambda: all(r in h.log for r in reasons), 20, f"the log says {reasons}")
        wait_until(lambda: h.read_model.get("/readyz").status == 503, 20, "not ready")


@suite.test("TLS: both show a certificate; the server goes away and comes back")
def _():
    with tempfile.TemporaryDirectory(prefix="odto-ca-") as ca:
        rabbitmq.authority(ca)
        with redis.Redis(password=PASSWORD, tls=ca) as r:
            url = f"rediss://:{urllib.parse.quote(PASSWORD, safe='')}@localhost:{r.tls_port}/0"
            h = host(r)
            h.env["REDIS_URL"] = url
            h.manifest["store counters"] |= {"ca_file": f"{ca}/ca.pem", "cert_file": f"{ca}/server.pem", "key_file": f"{ca}/server.key",
                                             "timeout": "500ms"}
            with h:
                for _ in range(300):
                    h.submit()
                counted(h, 300)
                r.kill()
                h.submit()
                wait_until(lambda: h.read_model.get("/readyz").status == 503, 20, "not ready without the server")
                r.start()
                counted(h, 301)
                r.freeze()
                h.submit()
                wait_until(lambda: "nothing came within 500 ms" in h.log, 20, "the server hangs")
                r.thaw()
                counted(h, 302)
                equal(r.counters(), (302, 302, 0))


@suite.test("TLS: who can't be trusted is refused, with the reason")
def _():
    with tempfile.TemporaryDirectory(prefix="odto-ca-") as ca:
        rabbitmq.authority(ca)
        with redis.Redis(tls=ca, args=["--bind", "127.0.0.1", "127.0.0.2", "--tls-auth-clients", "no"]) as r:
            tls = f"rediss://localhost:{r.tls_port}"
            refusal({"url": tls}, "self-signed certificate in certificate chain", "ca_file must hold the authority")
            refusal({"url": f"rediss://127.0.0.2:{r.tls_port}", "ca_file": f"{ca}/ca.pem"}, "IP address mismatch", "its names")
            refusal({"url": tls, "ca_file": f"{ca}/none.pem"}, f"ca_file: can't read certificates from {ca}/none.pem")
            refusal({"url": f"rediss://{r.address}", "ca_file": f"{ca}/ca.pem", "timeout": "300ms"}, "is this the server's tls-port")
            h = host(r)
            h.env["REDIS_URL"] = f"rediss://127.0.0.2:{r.tls_port}"
            h.manifest["store counters"]["verify"] = "no"
            with h:
                h.submit()
                counted(h, 1)
        with redis.Redis(tls=ca) as r:
            refusal({"url": f"rediss://localhost:{r.tls_port}", "ca_file": f"{ca}/ca.pem"}, "cert_file")


@suite.test("a certificate without its key is refused, with the line")
def _():
    h = odto.Host({"store counters": {"module": "redis", "cert_file": "/etc/hostname"}}, wait=False)
    h.write()
    done = subprocess.run([str(odto.HOST), "-c", str(h.file), "--check"], capture_output=True, text=True)
    check(done.returncode != 0, "--check fails")
    contains(done.stderr + done.stdout, "cert_file and key_file are given together", "the error")
    line = next(n for n, x in enumerate(h.file.read_text().splitlines(), 1) if x == "[store counters]")
    contains(done.stderr + done.stdout, f"{h.file}:{line}:", "the place")
    h.cleanup()


suite.main()
