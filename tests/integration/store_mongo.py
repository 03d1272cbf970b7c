#!/usr/bin/env python3
"""The events store mongo on a server of MongoDB's protocol: the role's cases, and a host whose server goes away."""
import os
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import json
import tempfile
import urllib.parse

import mongo
import odto
import rabbitmq
from odto import check, contains, equal, wait_until

suite = odto.Suite()
NOT_PRIMARY = {"ok": 0, "code": 10107, "errmsg": "not primary", "codeName": "NotWritablePrimary"}


def host(server, **more):
    """The event log on the server, everything else embedded. The address comes by the environment."""
    return odto.Host({"store log": {"module": "mongo", "timeout": "2s"}, "plugin metrics": {"events": "log"},
                      "plugin read-model": {"events": "log"}}, env={"MONGO_URL": server.url}, **more)


def settled(h, m, total):
    wait_until(lambda: h.stats()["totalJobs"] == total, 30, f"{total} jobs are counted")
    equal(m.count(), total, "documents")
    ids = [d["eventid"] for d in m.find("observatory", "job_events")]
    equal(len(set(ids)), total, "different event ids")


def first(*faults):
    """A plan: these faults for the first writes, in order."""
    left = list(faults)
    return lambda command: left.pop(0) if command == "insert" and left else None


@suite.test("the role's cases")
def _():
    with mongo.Mongo() as m, mongo.Proxy(m.port, first("cut")) as p:
        odto.diag(f"served by {m.kind}")
        odto.run_program("tests/unit/store_mongo_cases", {"TEST_MONGO": m.url, "TEST_MONGO_CUT": p.url})


@suite.test("events as documents of the contract, and as they were produced in /events")
def _():
    with mongo.Mongo() as m, host(m) as h:
        job = h.submit(payload={"n": 1, "$odd.name": [1.0]})
        h.wait_job(job)
        settled(h, m, 1)
        doc = m.find("observatory", "job_events")[0]
        for key in ("contractversion", "eventtype", "eventid", "occurredat", "correlationid", "payload"):
            check(key in doc, f"{key} is in the document")
        equal(doc["payload"]["id"], job)
        check(isinstance(doc["occurredAt"], mongo.Date), "occurredAt is a date")
        events = h.read_model.get(f"/events?jobId={job}").json
        equal(len(events), 1, "events of the job")
        equal(events[0]["payload"]["payload"], {"n": 1, "$odd.name": [1.0]})
        equal(json.loads(doc["body"]), events[0], "the text beside members that don't give it again")


@suite.test("the members of a document give the envelope's text, which then does not stand there twice")
def _():
    payload = {"text": "tab\t quote\" back\\ slash/", "numbers": [0, -7, 9007199254740993, 0.1, 2.5, -1e-7], "none": None, "yes": True,
               "empty": [{}]}
    with mongo.Mongo() as m, host(m) as h:
        job = h.submit(payload=payload)
        h.wait_job(job)
        settled(h, m, 1)
        doc = m.find("observatory", "job_events")[0]
        check("body" not in doc, "no body in the document")
        event = h.read_model.get(f"/events?jobId={job}").json[0]
        equal(event["payload"]["payload"], payload)
        equal(list(event), ["contractVersion", "eventType", "eventId", "occurredAt", "producer", "correlationId", "idempotencyKey", "payload"])


@suite.test("values that the server can't keep stand in the text alone; the events beside them are as always")
def _():
    strange = [{"nested": [[1, {"deep": [[2]]}]]}, {"": 1}, {"a": {"": [[]]}}]
    with mongo.Mongo() as m, host(m) as h:
        jobs = {h.submit(payload=p): p for p in [*strange, *({"n": i} for i in range(20)), *strange]}
        for job in jobs:
            h.wait_job(job)
        settled(h, m, len(jobs))
        for job, payload in jobs.items():
            equal(h.read_model.get(f"/events?jobId={job}").json[0]["payload"]["payload"], payload)
            doc = m.find("observatory", "job_events", {"payload.id": job})[0]
            equal(doc["payload"]["status"], "COMPLETED")
            if "n" in payload:
                equal(doc["payload"]["payload"], payload, "members of an event beside those")


@suite.test("a live stream goes on after Last-Event-ID, across a restart of the host")
def _():
    with mongo.Mongo() as m, host(m) as h:
        stream = odto.EventStream(h.read_model)
        jobs = [h.submit() for _ in range(3)]
        got = [stream.next() for _ in range(3)]
        equal({json.loads(d)["payload"]["id"] for _, d in got}, set(jobs), "jobs of the stream")
        stream.close()
        more = [h.submit() for _ in range(2)]
        settled(h, m, 5)
        h.restart()
        stream = odto.EventStream(h.read_model, Last_Event_ID=got[-1][0])
        equal({json.loads(stream.next()[1])["payload"]["id"] for _ in range(2)}, set(more), "jobs after it")
        stream.close()


@suite.test("a server that is killed: not ready, nothing is lost, nothing is there twice")
def _():
    with mongo.Mongo() as m:
        if not m.keeps:
            raise odto.Skip(f"{m.kind} keeps nothing over a restart")
        with host(m) as h:
            h.submit()
            settled(h, m, 1)
            m.kill()
            wait_until(lambda: h.read_model.get("/readyz").status == 503, 30, "the host is not ready")
            contains(h.read_model.get("/readyz").text, "mongo", "the reason")
            for _ in range(10):
                h.submit()
            wait_until(lambda: h.processor.metrics().get("processor_jobs_completed_total", 0) == 11, 20, "all are done")
            equal(h.read_model.get("/events").status, 503, "/events without its store")
            m.start()
            settled(h, m, 11)
            wait_until(lambda: h.read_model.ready(), 20, "the host is ready again")


@suite.test("replies that are cut, connections that end, a server that is not the primary: each event once")
def _():
    with mongo.Mongo() as m, mongo.Proxy(m.port, first("cut", "drop", NOT_PRIMARY, "cut")) as p, host(p) as h:
        for _ in range(20):
            h.submit()
        settled(h, m, 20)
        check(p.seen.count("insert") > 4, "the faults have happened")


@suite.test("a server that is slow: its events wait, the host stays ready")
def _():
    with mongo.Mongo() as m, mongo.Proxy(m.port, first(1.0)) as p, host(p) as h:
        h.submit()
        settled(h, m, 1)
        check(h.read_model.ready(), "ready")


@suite.test("a refused user is told once, with the server's name, without the password")
def _():
    refused = {"ok": 0, "code": 18, "errmsg": "Authentication failed.", "codeName": "AuthenticationFailed"}
    with mongo.Mongo() as m, mongo.Proxy(m.port, lambda c: refused if c == "saslStart" else None) as p:
        h = host(p, wait=False)
        h.env["MONGO_URL"] = f"mongodb://me:wr0ng@127.0.0.1:{p.port}/?authMechanism=SCRAM-SHA-256"
        h.start()
        try:
            wait_until(lambda: "refuses the user" in h.log, 20, "it is told")
            wait_until(lambda: p.seen.count("saslStart") > 3, 20, "it was tried again")
            told = [x for x in h.log.splitlines() if f"mongo at 127.0.0.1:{p.port}" in x and "authSource" in x]
            check(1 <= len(told) <= 2, f"told once a minute: {told}")
            check("wr0ng" not in h.log, "the log holds the password")
        finally:
            h.kill()
            h.cleanup()


@suite.test("TLS by the connection string; a server that can't be trusted gets nothing, with a reason")
def _():
    with tempfile.TemporaryDirectory(prefix="odto-ca-") as ca, mongo.Mongo() as m:
        rabbitmq.authority(ca)
        with mongo.Proxy(m.port, tls=ca) as p:
            trusted = f"mongodb://localhost:{p.port}/?tls=true&tlsCAFile={urllib.parse.quote(ca, safe='')}%2Fca.pem"
            h = host(m)
            h.env["MONGO_URL"] = trusted
            with h:
                h.submit()
                settled(h, m, 1)
            check("insert" in p.seen, "it went by the proxy")
            h = host(m, wait=False)
            h.env["MONGO_URL"] = f"mongodb://localhost:{p.port}/?tls=true"
            h.start()
            try:
                wait_until(lambda: "certificate verify failed" in h.log, 20, "it is told")
                wait_until(lambda: h.read_model.get("/readyz").status == 503, 20, "not ready")
            finally:
                h.kill()
                h.cleanup()


suite.main()
