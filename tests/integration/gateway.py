#!/usr/bin/env python3
"""The gateway in a real host: every row of its HTTP contract."""
import os
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import http.server
import json
import threading
import time
import uuid

import odto
from odto import check, contains, equal, job, wait_until

suite = odto.Suite()


def host():
    return odto.Host({"plugin gateway": {"max_types": "2", "proxy_timeout": "300ms"}})


def error_of(response, status):
    """The first detail of a JSON error with this status."""
    equal(response.status, status, f"status ({response.text[:300]})")
    equal(response.header("Content-Type", "").split(";")[0], "application/json", "content type of an error")
    body = response.json
    check(isinstance(body.get("error"), str) and body["error"], f"an error text in {body}")
    return (body.get("details") or [{}])[0]


@suite.test("POST /jobs: 202 with jobId and eventId, and nothing else")
def _(h):
    j = job()
    r = h.gateway.post("/jobs", j)
    equal(r.status, 202)
    equal(sorted(r.json), ["eventId", "jobId"])
    equal(r.json["jobId"], j["id"])
    uuid.UUID(r.json["eventId"])
    h.wait_job(j["id"], ["COMPLETED"])


@suite.test("the same job id twice: the same eventId, one execution")
def _(h):
    j = job()
    first, second = h.gateway.post("/jobs", j), h.gateway.post("/jobs", {**j, "id": j["id"].upper()})
    equal(second.status, 202)
    equal(first.json["eventId"], second.json["eventId"])
    done = h.wait_job(j["id"], ["COMPLETED"])
    equal(h.gateway.post("/jobs", j).json["eventId"], first.json["eventId"], "eventId after the job has ended")
    before = h.stats()["totalJobs"]
    other = h.submit()
    h.wait_job(other)
    wait_until(lambda: h.stats()["totalJobs"] >= before + 1, what="the other job is counted")
    equal(h.job(j["id"])["attempt"], done["attempt"], "attempts of the first")
    events = h.read_model.get(f"/events?jobId={j['id']}").json
    equal(len(events), 1, "completion events of a job sent three times")


@suite.test("an invalid job: 400 with path and message of the contract")
def _(h):
    good = job()
    rows = [
        ({}, "/", "must have required property 'id'"),
        ({"id": good["id"]}, "/", "must have required property 'type'"),
        ({"id": good["id"], "type": "t"}, "/", "must have required property 'status'"),
        ({"id": good["id"], "type": "t", "status": "PENDING"}, "/", "must have required property 'createdAt'"),
        ([], "/", "must be object"),
        ({**good, "id": "nope"}, "/id", 'must match format "uuid"'),
        ({**good, "status": "DONE"}, "/status", "must be equal to one of the allowed values"),
        ({**good, "status": 5}, "/status", "must be string"),
        ({**good, "createdAt": "2025-01-01"}, "/createdAt", 'must match format "date-time"'),
        ({**good, "payload": []}, "/payload", "must be object"),
        ({**good, "metadata": "x"}, "/metadata", "must be object"),
    ]
    for body, path, message in rows:
        r = h.gateway.post("/jobs", json.dumps(body))
        d = error_of(r, 400)
        equal(r.json["error"], "Invalid job data")
        equal((d["path"], d["message"]), (path, message), f"first detail for {body}")


@suite.test("a body that is no JSON: 400 that says where")
def _(h):
    rows = [b"", b"{", b"{'a':1}", b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":"\xff"}', b"{} {}", b"[" * 100 + b"]" * 100,
            b'{"a":"\\ud800"}', b'{"a":01}']
    for body in rows:
        d = error_of(h.gateway.request("POST", "/jobs", body, {"Content-Type": "application/json"}), 400)
        check(len(d.get("message", "")) > 5, f"a message for {body!r}")


@suite.test("content types: application/json only, else 415")
def _(h):
    body = json.dumps(job())
    for kind in ("application/json", "application/json; charset=utf-8", "APPLICATION/JSON"):
        equal(h.gateway.post("/jobs", body, Content_Type=kind).status, 202, kind)
    for kind in ("text/plain", "application/xml", "application/json; charset=utf-16"):
        error_of(h.gateway.post("/jobs", body, Content_Type=kind), 415)
    raw = h.gateway.raw(b"POST /jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
    contains(raw, b" 415 ")


@suite.test("a body over the limit: 413")
def _(h):
    error_of(h.gateway.post("/jobs", job(payload={"x": "y" * 110_000})), 413)
    equal(h.gateway.post("/jobs", job(payload={"x": "y" * 90_000})).status, 202)


@suite.test("unknown route 404, wrong method 405 with Allow, both JSON")
def _(h):
    error_of(h.gateway.get("/nope"), 404)
    r = h.gateway.get("/jobs")
    error_of(r, 405)
    contains(r.header("Allow", ""), "POST", "Allow")
    error_of(h.gateway.request("DELETE", "/healthz"), 405)


@suite.test("X-Correlation-Id: the request's, or a new one; a bad one is 400")
def _(h):
    mine = str(uuid.uuid4())
    j = job()
    r = h.gateway.post("/jobs", j, X_Correlation_Id=mine)
    equal(r.header("X-Correlation-Id"), mine)
    uuid.UUID(h.gateway.get("/healthz").header("X-Correlation-Id"))
    error_of(h.gateway.post("/jobs", job(), X_Correlation_Id="1; DROP"), 400)
    h.wait_job(j["id"])
    event = wait_until(lambda: h.read_model.get(f"/events?jobId={j['id']}").json, what="the completion event")[0]
    equal(event["correlationId"], mine, "correlationId of the completion event")
    equal(event["idempotencyKey"], j["id"], "idempotencyKey of the completion event")


@suite.test("health, readiness, liveness; HEAD where GET is")
def _(h):
    for path in ("/healthz", "/readyz", "/livez"):
        r = h.gateway.get(path)
        equal((r.status, r.json["status"]), (200, "ok"), path)
    check(h.gateway.get("/healthz").json["version"], "a version")
    r = h.gateway.request("HEAD", "/healthz")
    equal((r.status, r.body), (200, b""))


@suite.test("metrics: names, types, bounded labels, promtool's opinion")
def _(h):
    before = h.gateway.metrics()["gateway_jobs_accepted_total"]
    for kind in ("echo", "kind-a", "kind-b", "kind-c", "kind-d"):
        equal(h.gateway.post("/jobs", job(type=kind)).status, 202)
    m = h.gateway.metrics()
    equal(m["gateway_jobs_accepted_total"], before + 5)
    check(m['gateway_jobs_submitted_total{type="echo"}'] >= 1, "a count of echo")
    labels = [k for k in m if k.startswith("gateway_jobs_submitted_total{")]
    check(len(labels) <= 3 + 2 + 1, f"bounded labels: {labels}")
    check(m['gateway_jobs_submitted_total{type="other"}'] >= 2, "others are counted together")
    text = h.gateway.get("/metrics")
    contains(text.header("Content-Type"), "text/plain; version=0.0.4")
    for name in ("gateway_jobs_submitted_total", "gateway_jobs_accepted_total", "http_request_duration_seconds",
                 "process_cpu_seconds_total"):
        contains(text.text, f"# HELP {name} ")
        contains(text.text, f"# TYPE {name} ")
    promtool = odto.shutil.which("promtool")
    if promtool:
        done = odto.subprocess.run([promtool, "check", "metrics"], input=text.text, capture_output=True, text=True)
        equal(done.returncode, 0, f"promtool: {done.stdout}{done.stderr}")


@suite.test("/openapi.json and /docs")
def _(h):
    spec = h.gateway.get("/openapi.json").json
    equal(spec["info"]["title"], "Gateway API")
    odto.matches(spec["openapi"], r"^3\.(0\.[3-9]|[1-9])")
    equal(len(spec["servers"]), 1, "servers")
    page = h.gateway.get("/docs")
    contains(page.text, "swagger")
    for asset in odto.re.findall(r'(?:src|href)="(docs/[^"]+)"', page.text):
        equal(h.gateway.get("/" + asset).status, 200, asset)
    check(not odto.re.search(r"""(src|href)=["']?(https?:)?//""", page.text), "nothing from elsewhere")


@suite.test("/openapi.json lists the routes that are there")
def _(h):
    spec = h.gateway.get("/openapi.json").json
    for path in ("/jobs", "/healthz", "/metrics", "/proxy/alerts", "/proxy/targets", "/v1/jobs", "/v1/jobs/batch"):
        check(path in spec["paths"], f"{path} in the OpenAPI document")


@suite.test("Prefer: assign-id and POST /v1/jobs fill in what is missing")
def _(h):
    r = h.gateway.post("/jobs", {"type": "echo"}, Prefer="assign-id")
    equal((r.status, r.header("Preference-Applied")), (202, "assign-id"))
    equal(uuid.UUID(r.json["jobId"]).version, 7)
    h.wait_job(r.json["jobId"], ["COMPLETED"])
    r = h.gateway.post("/v1/jobs", {"type": "echo", "payload": {"a": 1}})
    equal(h.wait_job(r.json["jobId"], ["COMPLETED"])["payload"], {"a": 1})
    error_of(h.gateway.post("/jobs", {"type": "echo"}), 400)


@suite.test("POST /v1/jobs/batch: an array or NDJSON, all or none")
def _(h):
    jobs = [{"type": "echo", "payload": {"n": i}} for i in range(200)]
    r = h.gateway.post("/v1/jobs/batch", jobs)
    equal((r.status, r.json["accepted"], len(r.json["jobs"])), (202, 200, 200))
    for at in (0, 99, 199):
        equal(h.wait_job(r.json["jobs"][at]["jobId"], ["COMPLETED"])["payload"], {"n": at})
    r = h.gateway.post("/v1/jobs/batch", "".join(json.dumps(j) + "\n" for j in jobs[:3]),
                       Content_Type="application/x-ndjson")
    equal((r.status, r.json["accepted"]), (202, 3))
    mine = job()
    d = error_of(h.gateway.post("/v1/jobs/batch", [mine, {"type": 7}]), 400)
    equal((d["path"], d["message"]), ("/1/type", "must be string"))
    equal(h.job(mine["id"]), None, "a job of a refused batch")
    error_of(h.gateway.post("/v1/jobs/batch", [{"type": "echo"}] * 1001), 413)


class Upstream:
    """Alertmanager and Prometheus for the proxy routes."""

    def __init__(self):
        self.status, self.delay, self.paths = 200, 0, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.paths.append(self.path)
                time.sleep(outer.delay)
                body = json.dumps([{"labels": {"alertname": "X"}}]).encode()
                try:
                    self.send_response(outer.status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass

            def log_message(self, *args):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@suite.test("/proxy/alerts and /proxy/targets: pass through, 504, 502; the environment overrides")
def _(_h):
    up = Upstream()
    dead = odto.free_port()
    with odto.Host({"plugin gateway": {"proxy_timeout": "300ms", "alertmanager_url": "http://127.0.0.1:1"}},
                   env={"ALERTMANAGER_URL": up.url, "PROMETHEUS_URL": f"http://127.0.0.1:{dead}"}) as h:
        r = h.gateway.get("/proxy/alerts")
        equal((r.status, r.json), (200, [{"labels": {"alertname": "X"}}]))
        equal(up.paths[-1], "/api/v2/alerts")
        r = h.gateway.get("/proxy/targets")
        equal((r.status, r.json["error"]), (502, "Prometheus unavailable"))
        check(isinstance(r.json["details"], str), "details is a string")
        up.status = 500
        equal(h.gateway.get("/proxy/alerts").json["error"], "Alertmanager unavailable")
        up.status, up.delay = 200, 2
        r = h.gateway.get("/proxy/alerts")
        equal((r.status, r.json), (504, {"error": "Alertmanager timeout"}))
        equal(h.gateway.get("/healthz").status, 200, "health while the upstream hangs")
    up.close()


@suite.test("a full route: 503 with Retry-After, and healthz says why")
def _(_h):
    with odto.Host({"route jobs.created": {"transport": "memory", "capacity": "64", "overflow": "reject"},
                    "plugin processor": {"enabled": "no"}}, wait=False) as h:
        wait_until(h.gateway.ready, 20, "the gateway is ready")
        answers = [h.gateway.post("/jobs", job()) for _ in range(70)]
        refused = [r for r in answers if r.status != 202]
        equal(len(answers) - len(refused), 64, "accepted")
        for r in refused:
            equal(r.status, 503)
            check(int(r.header("Retry-After")) >= 1, "Retry-After")
            contains(error_of(r, 503)["message"], "full")
        wait_until(lambda: h.gateway.get("/healthz").status == 503, what="healthz says not ready")
        equal(h.gateway.get("/healthz").json["status"], "not_ready")
        check(h.gateway.get("/healthz").json["reason"], "a reason")
        equal(h.gateway.get("/livez").status, 200, "livez meanwhile")


suite.main(host)
