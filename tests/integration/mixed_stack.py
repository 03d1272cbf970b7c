#!/usr/bin/env python3
"""Our services and another implementation's (tests/lib/other.py) on one broker and the same databases, in every
combination: whoever accepts, processes and counts, both readers see the same jobs, counters and events."""
import contextlib
import itertools
import json
import sys

sys.path.insert(0, __file__.rsplit("/", 2)[0] + "/lib")
import mongo
import odto
import other
import postgres
import rabbitmq
import redis

suite = odto.Suite()
N = 4
ROLES = ("gateway", "processor", "metrics")


class Stack:
    """The servers, for all combinations: what one of them wrote is there for the next."""

    def __init__(self):
        other.need()
        postgres.need()
        self.open = contextlib.ExitStack()
        self.total = 0
        try:
            self.broker = self.open.enter_context(rabbitmq.RabbitMQ(management=False))
            self.pg = self.open.enter_context(postgres.Postgres())
            self.redis = self.open.enter_context(redis.Redis())
            self.mongo = self.open.enter_context(mongo.Mongo())
        except BaseException:
            self.open.close()
            raise
        odto.diag(f"MongoDB's protocol by {self.mongo.kind}")

    def manifest(self, ours):
        """A host with our services of these roles, and our reader in any case."""
        changes = {"bridge rabbit": {"module": "rabbitmq", "urls": self.broker.url},
                   "store main": {"module": "postgres", "url": self.pg.url},
                   "store counters": {"module": "redis", "url": self.redis.url},
                   "store events": {"module": "mongo", "url": self.mongo.url},
                   "plugin metrics": {"counters": "counters", "events": "events"},
                   "plugin read-model": {"counters": "counters", "events": "events"}}
        for q in other.QUEUES:
            changes[f"route {q}"] = {"transport": "rabbit"}
        for role in ROLES:
            if role not in ours:
                changes[f"plugin {role}"] = None
        return changes


STACK = None


def stack():
    global STACK
    if STACK is None:
        STACK = Stack()
    return STACK


def both_see(reader, host, ids, total):
    """Rows, counters and events of all ids, by the other reader and by ours."""
    rows, events = reader.jobs(), reader.events()
    theirs = all(rows.get(i, ("", ""))[1] == "COMPLETED" and events.get(i) == ["job.completed"] for i in ids)
    if not theirs or reader.stats() != (total, total, 0):
        return False
    stats = host.stats()
    if (stats["totalJobs"], stats["completedJobs"], stats["failedJobs"]) != (total, total, 0):
        return False
    for i in ids:
        job = host.job(i)
        found = host.read_model.get(f"/events?jobId={i}")
        if not job or job["status"] != "COMPLETED" or i not in found.text:
            return False
    return True


def combination(ours):
    theirs = [r for r in ROLES if r not in ours]
    name = f"ours: {', '.join(ours) or 'the reader alone'}; theirs: {', '.join(theirs) or 'the reader alone'}"

    @suite.test(name)
    def _():
        s = stack()
        with contextlib.ExitStack() as open_:
            enter = open_.enter_context
            host = enter(odto.Host(s.manifest(ours)))
            if "processor" in theirs:
                enter(other.Processor(s.broker.url, s.pg.url))
            if "metrics" in theirs:
                enter(other.Metrics(s.broker.url, s.redis, s.mongo))
            gateway = odto.Client(enter(other.Gateway(s.broker.url)).port) if "gateway" in theirs else host.gateway
            ids = []
            for k in range(N):
                j = odto.job(createdAt="2026-03-04T05:06:07+02:00", payload={"n": k, "text": "ä\u2028"}, extra=[k])
                r = gateway.post("/jobs", j)
                odto.equal(r.status, 202, r.text)
                odto.equal(set(r.json), {"jobId", "eventId"})
                ids.append(j["id"])
            s.total += N
            reader = other.Reader(s.pg.url, s.redis, s.mongo)
            open_.callback(reader.close)
            odto.wait_until(lambda: both_see(reader, host, ids, s.total), 30, lambda_text(reader, host, ids), every=0.1)
            kind, status, created = reader.jobs()[ids[0]]
            odto.equal((kind, status, created.isoformat()), ("echo", "COMPLETED", "2026-03-04T03:06:07"), "row")


class lambda_text:
    """Says what the readers saw, when the wait has failed."""

    def __init__(self, reader, host, ids):
        self.all = reader, host, ids

    def __str__(self):
        reader, host, ids = self.all
        rows, events = reader.jobs(), reader.events()
        return (f"both readers see {len(ids)} more; theirs: {reader.stats()} {[(rows.get(i), events.get(i)) for i in ids]}; "
                f"ours: {host.stats()} {host.job(ids[0])} {host.read_model.get('/events?jobId=' + ids[0]).text[:300]}")


for n in range(len(ROLES) + 1):
    for chosen in itertools.combinations(ROLES, n):
        combination(chosen)


@suite.test("the other's processor and ours share one queue: each job once")
def _():
    s = stack()
    with odto.Host(s.manifest(ROLES)) as host, other.Processor(s.broker.url, s.pg.url) as theirs:
        ids = []
        for _ in range(60):
            j = odto.job()
            odto.equal(host.gateway.post("/jobs", j).status, 202)
            ids.append(j["id"])
        s.total += len(ids)
        odto.wait_until(lambda: host.stats()["completedJobs"] == s.total, 30, "all are completed")
        odto.equal(host.stats()["totalJobs"], s.total, "each once")
        odto.check(theirs.handled, "the other one worked too")
        odto.equal({host.job(i)["status"] for i in ids}, {"COMPLETED"})


@suite.test("what the other sends and we refuse becomes a dead letter that the other can read")
def _():
    s = stack()
    with odto.Host(s.manifest(ROLES)) as host:
        broker = other.Broker(s.broker.url)
        bad = other.envelope("gateway", "job.created", {"id": "no uuid"}, "11111111-2222-4333-8444-555555555555", "k")
        broker.publish("jobs.created", bad)

        def letter():
            method, props, body = broker.channel.basic_get("jobs.failed.validation", auto_ack=True)
            return (props, body) if method else None
        props, body = odto.wait_until(letter, 15, "a dead letter")
        seen = json.loads(body)
        odto.equal(seen["original_event"], bad)
        odto.equal((seen["correlation_id"], seen["service"]), (bad["correlationId"], "processor"))
        odto.check(seen["validation_error"] and seen["rejected_at"] and seen["service_version"], seen)
        odto.equal(props.correlation_id, bad["correlationId"])
        broker.connection.close()
        odto.check(host.gateway.ready(), "ready")


try:
    suite.main()
finally:
    if STACK:
        STACK.open.close()
