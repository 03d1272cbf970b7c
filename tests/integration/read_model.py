#!/usr/bin/env python3
"""The read model in a real host: every row of its HTTP contract."""
import os
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import time

import odto
from odto import check, contains, equal, wait_until

suite = odto.Suite()
PASSWORD = "correct horse"


def host():
    return odto.Host({"plugin read-model": {"webhook_user": "am", "webhook_password": PASSWORD, "max_streams": "3"}})


@suite.test("before any job: empty lists, zero counts")
def _(h):
    equal(h.read_model.get("/jobs/recent").text, "[]")
    equal(h.read_model.get("/events").text, "[]")
    s = h.stats()
    for key in ("totalJobs", "completedJobs", "failedJobs", "pendingJobs", "executingJobs", "total_jobs",
                "pending_jobs", "completed_jobs", "failed_jobs"):
        equal(s[key], 0, key)
    check(isinstance(s["lastEventTime"], str), "lastEventTime is a string")


@suite.test("GET /stats counts finished jobs; the twins agree")
def _(h):
    before = h.stats()
    done = [h.submit() for _ in range(5)]
    failed = h.submit(type="fail", options={"maxAttempts": 1})
    for j in done:
        h.wait_job(j, ["COMPLETED"])
    h.wait_job(failed, ["FAILED"])
    s = wait_until(lambda: h.stats() if h.stats()["totalJobs"] == before["totalJobs"] + 6 else None,
                   what="six more finished jobs")
    equal(s["completedJobs"], before["completedJobs"] + 5)
    equal(s["failedJobs"], before["failedJobs"] + 1)
    equal((s["total_jobs"], s["completed_jobs"], s["failed_jobs"], s["pending_jobs"]),
          (s["totalJobs"], s["completedJobs"], s["failedJobs"], s["pendingJobs"]))
    odto.matches(s["lastEventTime"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


@suite.test("GET /jobs/recent: ten, newest first, four members; limit up to 500")
def _(h):
    ids = [h.submit() for _ in range(12)]
    for j in ids:
        h.wait_job(j)
    recent = h.read_model.get("/jobs/recent").json
    equal(len(recent), 10)
    equal([j["id"] for j in recent], ids[:1:-1], "order")
    for j in recent:
        equal(sorted(j), ["createdAt", "id", "status", "type"])
        odto.matches(j["createdAt"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")
    check(len(h.read_model.get("/jobs/recent?limit=500").json) >= 12, "limit=500 gives more")
    equal(len(h.read_model.get("/jobs/recent?limit=1").json), 1)


@suite.test("createdAt with an offset is shown in UTC")
def _(h):
    j = h.submit(createdAt="2031-06-01T02:30:00+05:00")
    h.wait_job(j)
    shown = h.job(j)["createdAt"]
    odto.matches(shown, r"^2031-05-31T21:30:00(\.000)?Z$")


@suite.test("GET /jobs/{id}: attempts, timings, result, error; 404")
def _(h):
    j = h.submit(payload={"deep": [1, {"a": "ü"}]}, metadata={"who": "me"})
    got = h.wait_job(j, ["COMPLETED"])
    equal((got["id"], got["type"], got["payload"], got["metadata"]),
          (j, "echo", {"deep": [1, {"a": "ü"}]}, {"who": "me"}))
    equal(len(got["attempts"]), 1)
    equal(got["attempts"][0]["outcome"], "ok")
    check(got["timings"]["totalMs"] >= 0, "timings")
    equal(got["timeline"][-1]["what"], "finished")
    check("result" in got, "a result")
    failed = h.wait_job(h.submit(type="fail", options={"maxAttempts": 2, "backoffSeconds": 0}), ["FAILED"])
    equal(len(failed["attempts"]), 2)
    check(failed["error"], "an error text")
    for bad in (odto.uuid7(), "nonsense"):
        r = h.read_model.get(f"/jobs/{bad}")
        equal(r.status, 404)
        check(r.json["error"], "a JSON error")


@suite.test("GET /jobs: filters, and paging that is stable under inserts")
def _(h):
    mine = [h.submit(type="sleep", payload={"ms": 0}) for _ in range(25)]
    for j in mine:
        h.wait_job(j)
    seen, cursor = [], None
    while True:
        page = h.read_model.get("/jobs?type=sleep&limit=7" + (f"&cursor={odto.quote(cursor)}" if cursor else "")).json
        check(len(page["jobs"]) <= 7, "page size")
        seen += [j["id"] for j in page["jobs"]]
        cursor = page["nextCursor"]
        if not cursor:
            break
        h.wait_job(h.submit(type="sleep", payload={"ms": 0}))  # inserts must not shift the pages
    equal(seen, mine[::-1], "all of them once, newest first")
    for j in h.read_model.get("/jobs?status=FAILED&limit=100").json["jobs"]:
        equal(j["status"], "FAILED")


@suite.test("bad query parameters are 400 with a path")
def _(h):
    for path, at in (("/jobs/recent?limit=0", "/limit"), ("/jobs/recent?limit=501", "/limit"),
                     ("/jobs?limit=abc", "/limit"), ("/jobs?status=DONE", "/status"),
                     ("/jobs?cursor=%00rubbish", "/cursor"), ("/events?jobId=7", "/jobId"),
                     ("/events?limit=-1", "/limit")):
        r = h.read_model.get(path)
        equal((r.status, r.json["details"][0]["path"]), (400, at), path)


@suite.test("GET /events: newest first, every field of the envelope, by job")
def _(h):
    first, second = h.submit(), h.submit()
    for j in (first, second):
        h.wait_job(j)
        wait_until(lambda: h.read_model.get(f"/events?jobId={j}").json, what="its event")
    events = h.read_model.get(f"/events?jobId={first}").json
    equal(len(events), 1)
    e = events[0]
    for key in ("contractVersion", "eventType", "eventId", "occurredAt", "producer", "correlationId",
                "idempotencyKey", "payload"):
        check(key in e, f"{key} in the event")
    equal((e["eventType"], e["producer"]["service"], e["payload"]["id"], e["payload"]["status"]),
          ("job.completed", "processor", first, "COMPLETED"))
    check(len(h.read_model.get("/events").json) <= 50, "50 by default")
    equal(len(h.read_model.get("/events?limit=1").json), 1)
    times = [x["occurredAt"] for x in h.read_model.get("/events?limit=50").json]
    equal(times, sorted(times, reverse=True), "newest first")


@suite.test("GET /events/stream: live events, Last-Event-ID resumes, bounded")
def _(h):
    s = odto.EventStream(h.read_model)
    equal((s.status, s.response.getheader("Content-Type").split(";")[0]), (200, "text/event-stream"))
    equal(s.response.getheader("Access-Control-Allow-Origin"), "*")
    a = h.submit()
    seq, data = s.next()
    equal(odto.json.loads(data)["payload"]["id"], a)
    s.close()
    b = h.submit()
    h.wait_job(b)
    c = h.submit()
    h.wait_job(c)
    resumed = odto.EventStream(h.read_model, Last_Event_ID=seq)
    equal(odto.json.loads(resumed.next()[1])["payload"]["id"], b, "the first event missed")
    equal(odto.json.loads(resumed.next()[1])["payload"]["id"], c, "the second event missed")
    more = [odto.EventStream(h.read_model) for _ in range(2)]
    wait_until(lambda: h.read_model.get("/events/stream").status == 503, what="a fourth stream is refused")
    for x in [resumed, *more]:
        x.close()
    wait_until(lambda: h.read_model.metrics()["odto_read_model_streams"] == 0, what="closed streams are forgotten")


@suite.test("CORS on every route")
def _(h):
    for path in ("/stats", "/jobs/recent", "/health", "/nope", "/jobs?limit=x", "/openapi.json", "/metrics"):
        r = h.read_model.get(path)
        equal(r.header("Access-Control-Allow-Origin"), "*", path)
    for path in ("/stats", "/jobs/recent", "/events"):
        r = h.read_model.request("OPTIONS", path)
        equal((r.status, r.body), (200, b""), path)
        equal(r.header("Access-Control-Allow-Methods"), "GET, OPTIONS")
        equal(r.header("Access-Control-Allow-Headers"), "Content-Type")
        equal(r.header("Access-Control-Allow-Origin"), "*")


@suite.test("health, readiness, HEAD, 404, 405")
def _(h):
    for path in ("/health", "/healthz", "/readyz", "/livez"):
        r = h.read_model.get(path)
        equal((r.status, r.json["status"]), (200, "ok"), path)
    check(h.read_model.get("/health").json["version"], "a version")
    equal(h.read_model.request("HEAD", "/stats").body, b"")
    equal(h.read_model.get("/nope").status, 404)
    r = h.read_model.request("POST", "/stats", "{}")
    equal(r.status, 405)
    contains(r.header("Allow"), "GET")


@suite.test("POST /webhook/alerts: basic auth; GET /alerts shows the last ones")
def _(h):
    alert = {"status": "firing", "labels": {"alertname": "ServiceDown"}, "annotations": {}, "fingerprint": "f1"}
    body = {"version": "4", "status": "firing", "receiver": "odto", "alerts": [alert]}
    good = odto.basic_auth("am", PASSWORD)
    equal(h.read_model.post("/webhook/alerts", body).status, 401)
    r = h.read_model.post("/webhook/alerts", body, Authorization=odto.basic_auth("am", "wrong"))
    equal((r.status, r.header("WWW-Authenticate", "")[:5]), (401, "Basic"))
    equal(h.read_model.post("/webhook/alerts", body, Authorization=good).status, 200)
    shown = h.read_model.get("/alerts").json
    equal(shown[0]["labels"], alert["labels"])
    equal(h.read_model.post("/webhook/alerts", "[]", Authorization=good).status, 400)
    check(PASSWORD not in h.log, "the password is in no log")


@suite.test("/openapi.json and /docs work offline")
def _(h):
    spec = h.read_model.get("/openapi.json").json
    equal(spec["info"]["title"], "Read Model API")
    for path in ("/health", "/stats", "/jobs/recent", "/jobs/{id}", "/jobs", "/events", "/events/stream"):
        check(path in spec["paths"], f"{path} in the OpenAPI document")
    page = h.read_model.get("/docs")
    contains(page.header("Content-Type"), "text/html")
    for word in ("<!DOCTYPE html>", "swagger-ui", "SwaggerUIBundle", "/openapi.json", "dom_id"):
        contains(page.text, word)
    check(not odto.re.search(r"""(src|href)=["']?(https?:)?//""", page.text), "nothing from elsewhere")
    for asset in odto.re.findall(r'(?:src|href)="(docs/[^"]+)"', page.text):
        equal(h.read_model.get("/" + asset).status, 200, asset)


@suite.test("everything is still there after a restart")
def _(_h):
    h = odto.Host()
    try:
        h.start()
        ids = [h.submit() for _ in range(20)]
        for j in ids:
            h.wait_job(j, ["COMPLETED"])
        stats = wait_until(lambda: h.stats() if h.stats()["completedJobs"] == 20 else None, what="20 completed")
        events = {e["eventId"] for e in h.read_model.get("/events?limit=100").json}
        equal(len(events), 20)
        h.restart()
        equal(h.stats(), stats, "statistics after the restart")
        equal({e["eventId"] for e in h.read_model.get("/events?limit=100").json}, events, "events after the restart")
        equal(h.stop(), 0, "exit status")
    finally:
        h.kill()
        h.cleanup()


@suite.test("/stats keeps answering while jobs pour in")
def _(h):
    slowest = 0.0
    c = h.read_model.keep()
    for _ in range(20):
        h.gateway.post("/v1/jobs/batch", [{"type": "echo"}] * 100)
        began = time.monotonic()
        equal(h.read_model.request("GET", "/stats", connection=c).status, 200)
        slowest = max(slowest, time.monotonic() - began)
    c.close()
    check(slowest < 2 * odto.SLOW, f"the slowest took {slowest:.3f} s")


suite.main(host)
