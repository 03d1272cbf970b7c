#!/usr/bin/env python3
"""`odto stats rebuild`: the counters are what the event log holds, on the embedded store and on servers, also while
events come in, and nothing counts twice or not at all."""
import os
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import contextlib
import json
import re
import sqlite3

import mongo
import odto
import redis
from odto import check, contains, equal, wait_until

suite = odto.Suite()


@contextlib.contextmanager
def servers_host():
    """Counters in Redis, the log on a server of MongoDB's protocol."""
    with redis.Redis() as r, mongo.Mongo() as m:
        odto.diag(f"served by redis and {m.kind}")
        h = odto.Host({"store counters": {"module": "redis"}, "store log": {"module": "mongo"},
                       "plugin metrics": {"counters": "counters", "events": "log"},
                       "plugin read-model": {"counters": "counters", "events": "log"}},
                      env={"REDIS_URL": r.url, "MONGO_URL": m.url})
        h.redis, h.mongo = r, m
        with h:
            yield h


def work(h, n, failing=2):
    for i in range(n):
        h.submit(type="fail" if i < failing else "echo", options={"maxAttempts": 1})


def totals(h):
    s = h.stats()
    return s["totalJobs"], s["completedJobs"], s["failedJobs"]


def rebuild(h):
    r = h.odto("stats", "rebuild", "--json")
    equal(r.returncode, 0, f"exit status ({r.stderr})")
    return json.loads(r.stdout)


@suite.test("embedded: counters that were tampered with are right again")
def _():
    with odto.Host() as h:
        work(h, 8)
        wait_until(lambda: totals(h) == (8, 6, 2), 20, "8 jobs are counted")
        last = h.stats()["lastEventTime"]
        h.stop()
        with sqlite3.connect(h.data / "odto.db") as db:
            columns = [c[1] for c in db.execute("PRAGMA table_info(state)")]
            db.execute(f"UPDATE state SET {[c for c in columns if 'total' in c][0]} = 99")
        h.start()
        r = rebuild(h)
        equal((r["events"], r["completedJobs"], r["failedJobs"], r["lastEventTime"]), (8, 6, 2, last))
        equal(totals(h), (8, 6, 2))
        text = h.odto("stats", "rebuild").stdout
        contains(text, "8 events counted in")


@suite.test("embedded: while jobs end, none is counted twice or missed")
def _():
    with odto.Host() as h:
        for _ in range(10):
            work(h, 10, failing=1)
            rebuild(h)
        wait_until(lambda: totals(h) == (100, 90, 10), 30, "100 jobs are counted")
        equal(rebuild(h)["events"], 100)


@suite.test("servers: counters that were lost while the host ran, and those tampered with")
def _():
    with servers_host() as h:
        work(h, 8)
        wait_until(lambda: totals(h) == (8, 6, 2), 20, "8 jobs are counted")
        last = h.stats()["lastEventTime"]
        h.redis.call("FLUSHALL")
        r = rebuild(h)
        equal((r["events"], r["completedJobs"], r["failedJobs"], r["lastEventTime"]), (8, 6, 2, last))
        h.redis.call("SET", "metrics:jobs:completed", 1000)
        rebuild(h)
        equal(h.redis.counters(), (8, 6, 2), "metrics:jobs:*")
        check(h.redis.call("ZCARD", "odto:metrics:seen") == 8, "the ids are remembered")


@suite.test("servers: while jobs end, none is counted twice or missed")
def _():
    with servers_host() as h:
        for _ in range(8):
            work(h, 10, failing=1)
            rebuild(h)
        wait_until(lambda: totals(h) == (80, 72, 8), 30, "80 jobs are counted")
        equal(rebuild(h)["events"], 80)
        equal(h.mongo.count(), 80, "documents")


@suite.test("servers: counters lost while the host was down are rebuilt before anything is consumed")
def _():
    with servers_host() as h:
        work(h, 5, failing=0)
        wait_until(lambda: totals(h) == (5, 5, 0), 20, "5 jobs are counted")
        h.stop()
        h.redis.call("FLUSHALL")
        h.start()
        wait_until(lambda: totals(h) == (5, 5, 0), 20, "they are counted again")
        contains(h.log, "rebuilt from 5 events")


@suite.test("an event that is in the log but was not counted counts once when it comes again")
def _():
    with servers_host() as h:
        h.redis.freeze()  # the log takes it, the counters do not
        h.submit()
        wait_until(lambda: h.mongo.count() == 1, 20, "it is in the log")
        h.kill()
        h.redis.thaw()
        equal(h.redis.counters()[0] in (0, 1), True, "counted at most once")
        h.start()
        wait_until(lambda: totals(h) == (1, 1, 0), 20, "it is counted")
        work(h, 3, failing=0)
        wait_until(lambda: totals(h)[0] >= 4, 20, "and so are others")
        equal((h.redis.counters(), h.mongo.count()), ((4, 4, 0), 4))


@suite.test("one at a time, JSON only, and what is told when a store is away")
def _():
    with servers_host() as h:
        equal(h.read_model.request("POST", "/stats/rebuild", "x", {"Content-Type": "text/plain"}).status, 415)
        h.redis.kill()
        r = h.odto("stats", "rebuild")
        check(r.returncode != 0, "fails")
        check(re.search("redis at 127.0.0.1|store counters", r.stderr), f"says which store: {r.stderr}")
        h.redis.start()
        equal(rebuild(h)["events"], 0)


suite.main()
