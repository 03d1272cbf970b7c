#!/usr/bin/env python3
"""One host per role on PostgreSQL, Redis, RabbitMQ and MongoDB's protocol, under load, while servers and hosts are killed, stopped
and frozen and links are cut, slow or stalled: every job answered 202 ends exactly once, rows = events = counters, and every
consumer goes on. ODTO_ROUNDS sets the rounds (5; the full proof is 100), ODTO_SEED repeats a run's faults."""
import os
import pathlib
import random
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import net  # noqa: E402

net.enter()

import cluster  # noqa: E402
import faults  # noqa: E402
import odto  # noqa: E402

suite = odto.Suite()
ROUNDS = int(os.environ.get("ODTO_ROUNDS", "5"))
SEED = int(os.environ.get("ODTO_SEED", str(random.randrange(1 << 30))))
# role, number, over proxies
HOSTS = (("gateway", 1, False), ("gateway", 2, True), ("processor", 1, False), ("processor", 2, True), ("metrics", 1, False),
         ("metrics", 2, True), ("read-model", 1, False))
WAYS = ("up", "down", "both")


# ---- faults: each is begun and ended --------------------------------------------------------------

class Down:
    """A server or host is killed or stopped, and started again."""

    def __init__(self, c, rng):
        name = rng.choice([*c.servers.by_name, *(n.name for n in c.nodes)])
        self.server = c.servers.by_name.get(name)
        self.what = self.server or next(n for n in c.nodes if n.name == name)
        self.hard = rng.random() < 0.6
        self.lock, self.text = name, f"{'kill -9' if self.hard else 'stop'} {name}"
        self.void = name == "mongo" and not c.servers.mongo.keeps

    def begin(self):
        orderly = "shutdown" if hasattr(self.what, "shutdown") else "stop"
        getattr(self.what, "kill" if self.hard else orderly)()

    def end(self):
        self.what.start()


class Frozen:
    """A server keeps its connections and answers nothing."""

    void = False

    def __init__(self, c, rng):
        name = rng.choice(["redis", "mongo"])
        self.server, self.lock, self.text = c.servers.by_name[name], name, f"freeze {name}"

    def begin(self):
        self.server.freeze()

    def end(self):
        self.server.thaw()


class Cut:
    """What goes between a host and a server (or all of them) vanishes, one way or both."""

    def __init__(self, c, rng):
        self.network, self.void = c.network, not c.network.separate
        self.node = rng.choice([n for n in c.nodes if not n.links] or c.nodes)
        server = rng.choice([*self.node.USES[self.node.role], None])
        self.port = c.servers.by_name[server].port if server else None
        self.way = rng.choice(WAYS)
        self.lock, self.text = f"link {self.node.name}", f"cut {self.node.name} - {server or 'everybody'} ({self.way})"

    def begin(self):
        self.rule = self.network.cut(self.node.place, self.way, self.port)

    def end(self):
        self.network.heal(self.rule)


class Bad:
    """A link over a proxy is slow, lossy, stalled, a black hole, reset, torn in a frame, or refused."""

    void = False

    def __init__(self, c, rng):
        node = rng.choice([n for n in c.nodes if n.links])
        server = rng.choice(list(node.links))
        self.link, self.how = node.links[server], rng.choice(["slow", "lossy", "reset", "torn", "refused", *WAYS, *(f"black hole {w}" for w in WAYS)])
        self.delay = rng.uniform(0.005, 0.1)
        self.lock, self.text = f"link {node.name} {server}", f"{node.name} - {server}: {self.how}"

    def begin(self):
        if self.how == "slow":
            self.link.delay = self.delay
        elif self.how == "reset":
            self.link.cut()
        elif self.how == "lossy":
            self.link.lossy(0.2, 1.0)
        elif self.how == "torn":
            self.link.tear()
        elif self.how.startswith("black hole "):
            self.link.swallow(self.how.split()[-1])
        elif self.how == "refused":
            self.link.refuse(True)
        else:
            self.link.stall(self.how)

    def end(self):
        self.link.delay = 0.0
        self.link.refuse(False)
        self.link.stall(None)
        self.link.lossy(0)
        self.link.tear(False)
        self.link.swallow(None)


def choose(c, rng, taken):
    while True:
        fault = rng.choice([Down, Down, Down, Frozen, Cut, Cut, Bad, Bad])(c, rng)
        if not fault.void and fault.lock not in {t.lock for t in taken}:
            return fault


def one_round(c, rng, number):
    chosen, begun = [], []
    for _ in range(rng.choice([1, 1, 2, 3])):
        chosen.append(choose(c, rng, chosen))
    hold = [rng.choice([rng.uniform(0, 1), rng.uniform(1, 3), rng.uniform(3, 7)]) for _ in chosen]
    odto.diag(f"round {number}: " + "; ".join(f"{f.text} {h:.1f} s" for f, h in zip(chosen, hold)))
    try:
        for f, h in zip(chosen, hold):
            f.begin()
            begun.append((f, time.monotonic() + h))
            time.sleep(rng.uniform(0, 0.3))  # how long a fault lasts is the test's input
        for f, until in sorted(begun, key=lambda x: x[1]):
            time.sleep(max(0.0, until - time.monotonic()))
            begun.remove((f, until))
            f.end()
    finally:
        for f, _ in begun:
            f.end()
    died = [n.name for n in c.nodes if not n.alive()]
    odto.equal(died, [], "hosts that ended by themselves")


# ---- what must be true afterwards -----------------------------------------------------------------

class Books:
    """What rows, events and counters say at one moment."""

    def __init__(self, c, accepted):
        pg = c.servers.pg
        self.c, self.accepted = c, accepted
        self.rows = dict(pg.sql("SELECT id, status FROM jobs"))
        self.counts, self.stat = pg.counts()
        self.outbox = int(pg.value("SELECT count(*) FROM odto_outbox"))
        self.events = cluster.events(c.servers.mongo)
        self.counted = int(c.servers.redis.call("GET", "metrics:jobs:total") or 0)
        self.depths = {name: (q.get("messages_ready"), q.get("messages_unacknowledged"))
                       for name, q in c.servers.broker.queues().items()}
        self.spools = {n.name: r["depth"] for n in c.of("gateway") for t, r in n.routes().items() if t == "jobs.created"}

    def wrong(self):
        """[(what, ids)], empty when all is well."""
        final = {"COMPLETED", "FAILED"}
        found = [("accepted without a row", [i for i in self.accepted if i not in self.rows]),
                 ("not ended", [i for i, s in self.rows.items() if s not in final]),
                 ("ended without an event", [i for i, s in self.rows.items() if s in final and i not in self.events]),
                 ("with more than one event", [i for i, e in self.events.items() if len(set(e)) > 1]),
                 ("with an event twice in the log", [i for i, e in self.events.items() if len(set(e)) < len(e)]),
                 ("with an event and no row", [i for i in self.events if i not in self.rows])]
        logged = sum(map(len, self.events.values()))
        plain = [(f"counted {self.counted}, logged {logged}", self.counted != logged),
                 (f"rows {self.counts}, the store counts {self.stat}", self.counts != self.stat),
                 (f"{self.outbox} events in the outbox", self.outbox),
                 (f"queues (ready, unacknowledged) {self.depths}", any(map(any, self.depths.values()))),
                 (f"spools {self.spools}", any(self.spools.values()))]
        return [(w, i) for w, i in found if i] + [(w, []) for w, bad in plain if bad]

    def where(self, ids):
        """What is known about each of some ids."""
        ids, broker = ids[:8], self.c.servers.broker
        queues = {q: cluster.waiting(broker, q, ids) for q in self.depths}
        files = {n.name: cluster.in_files(n.data, ids) for n in self.c.nodes}
        for i in ids:
            yield (f"  {i}: row {self.rows.get(i)}; events {self.events.get(i)}; in queues {[q for q, x in queues.items() if i in x]}; "
                   f"in files of {[n for n, x in files.items() if i in x]}; outbox "
                   f"{self.c.servers.pg.sql(f'SELECT topic, seq, holder, held_until FROM odto_outbox WHERE body LIKE $$%{i}%$$')}")


def report(c, books):
    for what, ids in books.wrong():
        odto.diag(f"WRONG: {len(ids) or ''} {what}")
        for line in books.where(ids):
            odto.diag(line)
    for n in c.nodes:
        odto.diag(f"{n.name}: readyz {_readyz(n)}")
        for topic, r in n.routes().items():
            odto.diag(f"  route {topic}: {r}")
        odto.diag("  its log ends:\n" + "\n".join("  " + x for x in n.log.splitlines()[-12:]))
    for name, q in c.servers.broker.queues().items():
        odto.diag(f"queue {name}: {({k: q.get(k) for k in ('messages_ready', 'messages_unacknowledged', 'consumers')})}")


def _readyz(n):
    try:
        return n.http.get("/readyz")
    except Exception as e:  # noqa: BLE001 - it is told
        return e


def settled(c, accepted, timeout=240):
    """All books balance; told where each job is that they do not agree about."""
    end = time.monotonic() + timeout * odto.SLOW
    while True:
        books = Books(c, accepted)
        if not books.wrong():
            return books
        if time.monotonic() > end:
            report(c, books)
            raise odto.Failed("; ".join(f"{len(ids) or ''} {what}".strip() for what, ids in books.wrong()))
        time.sleep(0.5)


def processed(node):
    return sum(v for k, v in node.http.metrics().items() if k.split("{")[0] == "processor_jobs_processed_total")


def gone_for_good(c, load):
    """A processor that can't publish any more ends jobs, dies and does not come back: the other one does the rest."""
    node, broker = c.of("processor")[0], c.servers.broker
    link = node.links.get("rabbitmq")
    cut = link.stall("up") if link else c.network.cut(node.place, "up", broker.port)
    try:
        odto.wait_until(lambda: int(c.servers.pg.value("SELECT count(*) FROM odto_outbox")) > 0, 60, "events in the outbox")
    finally:
        node.kill()
        if link:
            link.stall(None)
        else:
            c.network.heal(cut)
    c.servers.pg.sql("UPDATE odto_outbox SET held_until = 0")  # half a minute later
    load.more(50, 120)
    accepted = load.stop()
    settled(c, accepted)
    node.start()
    return accepted


def nobody_is_silent(c, accepted):
    """Both gateways accept, both processors execute, both metrics hosts have leases, the read model tells of it."""
    before = {n.name: processed(n) for n in c.of("processor")}
    load = faults.Load([n.http for n in c.of("gateway")], n=4)

    def all_work():
        return all(processed(n) > before[n.name] for n in c.of("processor"))
    try:
        odto.wait_until(all_work, 120, "both processors execute jobs", every=0.1)
    finally:
        more = load.stop()
    for n in c.of("gateway"):
        job = odto.job()
        odto.equal(n.http.post("/jobs", job).status, 202, n.name)
        more[job["id"]] = None
    for q in ("jobs.created", "jobs.completed"):
        # a broker that just came up has no figures yet
        odto.wait_until(lambda q=q: (c.servers.broker.queue(q) or {}).get("consumers") == 2, 60, f"two consumers of {q}", every=0.2)
    return {**accepted, **more}


@suite.test(f"{ROUNDS} rounds of faults under load: each job ends once, all books balance, nobody is silent (ODTO_SEED={SEED})")
def _():
    rng = random.Random(SEED)
    with net.Network() as network, cluster.Cluster(network, HOSTS) as c:
        load = faults.Load([n.http for n in c.of("gateway")], n=4, pause=0.02)
        try:
            for number in range(1, ROUNDS + 1):
                one_round(c, rng, number)
                load.more(20, 120)
            c.ready()
            accepted = gone_for_good(c, load)
        except odto.Failed:
            report(c, Books(c, {}))
            raise
        finally:
            load.stop()
        c.ready()
        accepted = nobody_is_silent(c, accepted)
        books = settled(c, accepted)
        stats = odto.wait_until(lambda: c.of("read-model")[0].http.get("/stats").json, 60, "/stats")
        odto.equal([stats[k] for k in ("totalJobs", "pendingJobs", "executingJobs")], [len(books.rows), 0, 0], "/stats")
        odto.equal((stats["completedJobs"], stats["failedJobs"]), (books.counts["COMPLETED"], books.counts["FAILED"]), "/stats")
        for n in c.nodes:
            n.stop()
        odto.diag(f"{len(accepted)} accepted, {len(books.rows)} rows, {books.counts}")


signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the servers end with us
suite.main()
