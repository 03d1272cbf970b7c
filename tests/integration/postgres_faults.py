#!/usr/bin/env python3
"""PostgreSQL goes away in every way under load, and hosts that share one: nothing accepted is lost, each job ends exactly once,
the counts equal the rows, everything resumes by itself."""
import os
import pathlib
import random
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import faults  # noqa: E402
import odto  # noqa: E402
import postgres  # noqa: E402
import proxy  # noqa: E402

suite = odto.Suite()
SEED = int(os.environ.get("ODTO_SEED", str(random.randrange(1 << 30))))


def shared(url, lease="3s", **store):
    return {"store jobs": {"module": "postgres", "url": url, **store}, "handler builtin": {"backoff": "10ms"},
            "plugin processor": {"jobs": "jobs", "lease": lease}, "plugin read-model": {"jobs": "jobs"}}


def database(pg, name):
    pg.sql(f"CREATE DATABASE {name}")
    return pg.url_of(name)


class View:
    """The server as one of its databases."""

    def __init__(self, pg, name):
        self.pg, self.name = pg, name

    def sql(self, text):
        return self.pg.sql(text, self.name)

    def value(self, text):
        return self.pg.value(text, self.name)

    def counts(self):
        return postgres.Postgres.counts(self)


def settle(view, hosts, load):
    """After the faults: all of the load has ended once, with one event; the hosts end well."""
    accepted = load.stop()
    rows = faults.ended(view, accepted)
    faults.outbox_empty(view)
    for host in hosts:
        odto.wait_until(lambda h=host: all(v == 0 for k, v in h.gateway.metrics().items()
                                           if k.startswith("odto_route_depth") and "failed" not in k), 60, "the routes are empty")
        odto.equal(host.stop(), 0, "exit status")
    faults.one_event_each(rows, faults.sqlite_events(hosts))
    odto.diag(f"{len(accepted)} jobs accepted, {sum(p.down for p in load.producers)} requests without an answer")


@suite.test("the server is stopped, killed and restarted under load")
def _(pg):
    url, view = database(pg, "outage"), View(pg, "outage")
    host = odto.Host(shared(url)).start()
    try:
        load = faults.Load([host.gateway])
        for how in ("stop", "kill", "stop"):
            load.more(100)
            getattr(pg, how)()
            odto.wait_until(lambda: host.processor.get("/readyz").status == 503, 20, f"not ready after {how}")
            load.more(20)  # the spool takes them
            pg.start()
            host.wait_ready(30)
        load.more(100)
        settle(view, [host], load)
        odto.contains(host.log, "PostgreSQL at 127.0.0.1", "the log")
    finally:
        if pg.process is None:
            pg.start()
        host.kill()
        host.cleanup()


@suite.test("the connection is cut in the middle of transactions, stalled one way, slow")
def _(pg):
    database(pg, "link")
    view = View(pg, "link")
    with proxy.Proxy(pg.port) as link:
        host = odto.Host(shared(pg.url_of("link", port=link.port), statement_timeout="1s", connect_timeout="1s")).start()
        try:
            load = faults.Load([host.gateway])
            load.more(50)
            for forward in (True, False) * 4:
                # "s1": the name of a statement in a Bind message; with forward the server commits and nobody hears of it
                link.cut_when(random.Random(SEED).choice([b"\0s0\0", b"\0s3\0"]), forward)
                odto.wait_until(lambda: not link.armed, 20, "the cut")
                load.more(30)
            for way in ("down", "up"):
                link.stall(way)
                odto.wait_until(lambda: host.processor.get("/readyz").status == 503, 30, f"not ready while {way} is stalled")
                link.stall(None)
                host.wait_ready(30)
                load.more(30)
            link.delay = 0.02
            load.more(50)
            link.delay = 0
            link.refuse(True)
            odto.wait_until(lambda: host.processor.get("/readyz").status == 503, 20, "not ready while refused")
            link.refuse(False)
            host.wait_ready(30)
            load.more(30)
            settle(view, [host], load)
        finally:
            host.kill()
            host.cleanup()


def pair(pg, name, lease="2s", **more):
    url = database(pg, name)
    hosts = []
    try:
        for _ in range(2):
            hosts.append(odto.Host(shared(url, lease), **more).start())
    except BaseException:
        drop(hosts)
        raise
    return hosts, View(pg, name)


def drop(hosts):
    for host in hosts:
        if host.process is not None:
            host.process.send_signal(signal.SIGCONT)
        host.kill()
        host.cleanup()


def executing(view, job):
    return odto.wait_until(lambda: view.value(f"SELECT owner FROM jobs WHERE id = '{job}' AND status = 'EXECUTING'"), 20,
                           "the job runs")


@suite.test("a lost host's job is taken over within the lease")
def _(pg):
    (a, b), view = pair(pg, "takeover")
    try:
        job = a.submit(type="sleep", payload={"ms": 1500})
        executing(view, job)
        a.kill()
        began = time.monotonic()
        done = b.wait_job(job, timeout=20)
        took = time.monotonic() - began
        odto.equal(done["status"], "COMPLETED", "status")
        odto.check(took < (2 + 2 + 1.5 + 2) * odto.SLOW, f"taken over and done after {took:.1f} s, lease 2 s")
        odto.equal(view.value(f"SELECT attempt || '/' || lost FROM jobs WHERE id = '{job}'"), "2/1", "attempts and losses")
        odto.equal(view.counts()[0], view.counts()[1], "rows and counts")
    finally:
        drop((a, b))


@suite.test("the late result of a host that stood still is refused")
def _(pg):
    (a, b), view = pair(pg, "late")
    try:
        job = a.submit(type="sleep", payload={"ms": 1000})
        executing(view, job)
        a.signal(signal.SIGSTOP)
        odto.equal(b.wait_job(job, timeout=30)["status"], "COMPLETED", "status")
        first = view.value(f"SELECT token || ' ' || finished_at FROM jobs WHERE id = '{job}'")
        a.signal(signal.SIGCONT)
        odto.wait_until(lambda: sum(v for k, v in a.processor.metrics().items()
                                    if k.startswith("odto_job_attempts_total") and 'outcome="fenced"' in k) >= 1, 20,
                        "the late result is counted as fenced")
        odto.equal(view.value(f"SELECT token || ' ' || finished_at FROM jobs WHERE id = '{job}'"), first, "the row")
        faults.outbox_empty(view)
        for host in (a, b):
            odto.equal(host.stop(), 0, "exit status")
        odto.equal(faults.sqlite_events((a, b))[job], 1, "completion events")
    finally:
        drop((a, b))


@suite.test("a job longer than the lease keeps it")
def _(pg):
    (a, b), view = pair(pg, "longer", lease="1s")
    try:
        job = a.submit(type="sleep", payload={"ms": 4000})
        odto.equal(a.wait_job(job, timeout=30)["status"], "COMPLETED", "status")
        odto.equal(view.value(f"SELECT attempt || '/' || lost FROM jobs WHERE id = '{job}'"), "1/0", "attempts and losses")
    finally:
        drop((a, b))


@suite.test("due rows that nobody was told of are found")
def _(pg):
    (a, b), view = pair(pg, "sweep")
    try:
        job = a.submit(options={"delaySeconds": 3600})
        odto.wait_until(lambda: view.value(f"SELECT status FROM jobs WHERE id = '{job}'") == "PENDING", 20, "the row")
        a.kill()
        view.sql(f"UPDATE jobs SET run_at = 0 WHERE id = '{job}'")
        odto.equal(b.wait_job(job, timeout=20)["status"], "COMPLETED", "status")
        view.sql(f"UPDATE jobs SET status = 'PENDING', type = 'nobody-has-it', ready = true WHERE id = '{job}'")
        odto.equal(b.wait_job(job, ("FAILED",), timeout=30)["status"], "FAILED", "status of a type without a handler")
    finally:
        drop((a, b))


@suite.test(f"hosts are killed under load (ODTO_SEED={SEED})")
def _(pg):
    hosts, view = pair(pg, "kills")
    rng = random.Random(SEED)
    try:
        load = faults.Load([h.gateway for h in hosts])
        for _ in range(int(os.environ.get("ODTO_KILLS", "6"))):
            load.more(50)
            host = rng.choice(hosts)
            host.kill()
            host.start()
        load.more(50)
        settle(view, hosts, load)
    finally:
        drop(hosts)


if __name__ == "__main__":
    if postgres.missing():
        print(f"1..0 # SKIP {postgres.missing()}")
        sys.exit(0)
    suite.main(postgres.Postgres)
