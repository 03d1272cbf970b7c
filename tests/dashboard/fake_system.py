#!/usr/bin/env python3
"""A small stand-in for a running system, for tests of the dashboard.

Serves the gateway's and the read model's routes on one port that the kernel chooses. Everything it answers
is deterministic. `Fake.fail` names paths that answer otherwise: an HTTP status, "hang" (no answer) or
"close" (the connection is cut).

Run by itself it prints its URL and serves until its stdin ends:  fake_system.py [--jobs N] [--port P] [--live] [--forever]
"""
import json
import os
import socket
import sys
import threading
import time
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

STATUS = ["COMPLETED", "COMPLETED", "EXECUTING", "COMPLETED", "FAILED", "PENDING", "COMPLETED", "VALIDATED"]
TYPES = ["email.send", "report.nightly", "image.resize", "echo", "billing-run", "sync_contacts"]


def stamp(ms):
    t = datetime.fromtimestamp(ms / 1000, tz=timezone.utc)
    return t.strftime("%Y-%m-%dT%H:%M:%S.") + "%03dZ" % (ms % 1000)


def job_id(i):
    return "0198a7c0-%04x-7000-8000-%012x" % (i & 0xFFFF, i)


class Fake:
    def __init__(self, jobs=40, live=False, port=0):
        self.base_ms = 1785506400000
        self.n = jobs
        self.live = live
        self.fail = {}
        self.most = None  # the highest ?limit= that is not refused
        self.posted = []
        self.hits = {}
        self.alerts = [
            {"labels": {"alertname": "JobFailureRateHigh", "service": "processor", "severity": "warning"},
             "annotations": {"summary": "More than 5 % of the jobs fail",
                             "description": "Over the last five minutes 7.2 % of all jobs failed.",
                             "runbook": "docs/runbooks.md#jobfailureratehigh"},
             "startsAt": stamp(self.base_ms - 300000), "status": {"state": "active"}},
            {"labels": {"alertname": "ServiceDown", "service": "metrics", "severity": "critical"},
             "annotations": {"summary": "metrics does not answer"},
             "startsAt": stamp(self.base_ms - 60000), "status": {"state": "active"}},
        ]
        self.started = time.monotonic()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *a):
                pass

            def do_GET(self):
                fake.answer(self, None)

            def do_POST(self):
                n = int(self.headers.get("Content-Length", 0))
                fake.answer(self, self.rfile.read(n))

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request, client_address):
                pass

        self.server = Server(("127.0.0.1", port), Handler)
        self.url = "http://127.0.0.1:%d" % self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.fail["*"] = "close"  # connections that are kept open end too
        self.server.shutdown()
        self.server.server_close()

    def ticks(self):
        return int(time.monotonic() - self.started) if self.live else 0

    def job(self, i):
        status = STATUS[i % len(STATUS)]
        created = self.base_ms - 1000 * (self.n - i)
        j = {"id": job_id(i), "type": TYPES[i % len(TYPES)], "status": status, "createdAt": stamp(created)}
        if status in ("COMPLETED", "FAILED"):
            j["updatedAt"] = stamp(created + 40 + (i * 37) % 4000)
        return j

    def jobs(self, limit):
        total = self.n + self.ticks()
        return [self.job(i) for i in range(total - 1, max(-1, total - 1 - limit), -1)]

    def detail(self, jid):
        i = int(jid.split("-")[-1], 16)
        j = self.job(i)
        t = self.base_ms - 1000 * (self.n - i)
        j["payload"] = {"to": "someone@example.org", "note": "\u001b[31mred\u0007 and \u202e backwards", "n": i}
        j["startedAt"] = stamp(t + 12)
        j["timeline"] = [{"at": stamp(t), "what": "created"},
                         {"at": stamp(t + 30), "what": "attempt ended", "attempt": 1, "outcome": "error"}]
        j["attempts"] = [
            {"attempt": 1, "status": "FAILED", "startedAt": stamp(t + 12), "finishedAt": stamp(t + 30),
             "error": "connection refused by smtp.example.org:25"},
            {"attempt": 2, "status": "COMPLETED", "startedAt": stamp(t + 35), "finishedAt": stamp(t + 78)}]
        return j

    def events(self, jid):
        i = int(jid.split("-")[-1], 16)
        t = self.base_ms - 1000 * (self.n - i)
        kinds = [("job.created", "gateway", 0), ("job.validated", "processor", 9), ("job.executed", "processor", 76),
                 ("job.completed", "processor", 78)]
        return [{"contractVersion": "1.0.0", "eventType": k, "eventId": "0198a7c0-0000-7000-9000-%012x" % n,
                 "occurredAt": stamp(t + d), "producer": {"service": s, "instanceId": "1", "version": "0.1.0"},
                 "correlationId": jid, "idempotencyKey": jid, "payload": {}}
                for n, (k, s, d) in reversed(list(enumerate(kinds)))]

    def metrics(self):
        k = self.ticks()
        rows = ["# TYPE odto_plugin_state gauge"]
        states = {"gateway": "READY", "processor": "READY", "metrics": "BACKOFF", "read-model": "READY",
                  "pty": "READY", "web": "READY"}
        for name, state in states.items():
            for s in ("READY", "BACKOFF", "FAILED"):
                rows.append('odto_plugin_state{plugin="%s",state="%s"} %d' % (name, s, s == state))
            rows.append('odto_plugin_restarts_total{plugin="%s"} %d' % (name, 3 if name == "metrics" else 0))
            rows.append('odto_plugin_generation{plugin="%s"} %d' % (name, 4 if name == "metrics" else 1))
        for i, route in enumerate(["jobs.created", "jobs.completed", "jobs.failed.validation"]):
            depth = [420 + (k * 37) % 300, 12, 3][i]
            rows.append('odto_route_depth{route="%s"} %d' % (route, depth))
            rows.append('odto_route_capacity{route="%s"} %d' % (route, [800, 10000, 0][i]))
            rows.append('odto_route_published_total{route="%s"} %d' % (route, 5000 + k * 45))
            rows.append('odto_route_acked_total{route="%s"} %d' % (route, 4600 + k * 42))
        rows.append("gateway_jobs_accepted_total %d" % (5000 + k * 45))
        return "\n".join(rows) + "\n"

    def route(self, path, query, body):
        total = self.n + self.ticks() * 40 + [0, 13, 31, 17, 4, 22][self.ticks() % 6]
        if path in ("/", "/healthz", "/health", "/livez", "/readyz"):
            return 200, {"status": "ok", "version": "0.1.0"}
        if path == "/stats":
            failed = total // 8
            return 200, {"totalJobs": total, "completedJobs": total - failed, "failedJobs": failed,
                         "pendingJobs": 5, "executingJobs": 2, "lastEventTime": stamp(self.base_ms)}
        limit = int(query.get("limit", ["10"])[0])
        if path in ("/jobs", "/jobs/recent") and self.most and limit > self.most:
            return 400, {"error": f"limit is 1 to {self.most}"}
        if path == "/jobs" and body is None:
            return 200, {"jobs": self.jobs(int(query.get("limit", ["50"])[0])), "nextCursor": None}
        if path == "/jobs/recent":
            return 200, self.jobs(int(query.get("limit", ["10"])[0]))
        if path.startswith("/jobs/"):
            return 200, self.detail(path[6:])
        if path == "/events":
            return 200, self.events(query["jobId"][0])
        if path == "/proxy/alerts":
            return 200, self.alerts
        if path == "/api/v1/alerts":
            return 200, {"status": "success", "data": {"alerts": [
                {"labels": a["labels"], "annotations": a["annotations"], "state": "firing", "activeAt": a["startsAt"]} for a in self.alerts]}}
        if path == "/metrics":
            return 200, self.metrics()
        if path == "/jobs" and body is not None:
            j = json.loads(body)
            self.posted.append(j)
            return 202, {"jobId": j["id"], "eventId": job_id(1)}
        return 404, {"error": "Not found"}

    def answer(self, h, body):
        u = urlparse(h.path)
        self.hits[u.path] = self.hits.get(u.path, 0) + 1
        how = self.fail.get(u.path, self.fail.get("*"))
        if how == "hang":
            end = time.monotonic() + 30
            while time.monotonic() < end and self.fail.get(u.path, self.fail.get("*")) == "hang":
                time.sleep(0.05)
            h.close_connection = True
            return
        if how == "close":
            h.close_connection = True
            h.connection.shutdown(socket.SHUT_RDWR)
            return
        if how == "garbage":
            code, doc = 200, "{\"totalJobs\": [[[ \x1b[2J"
        elif how:
            code, doc = how, {"error": "not ready", "reason": "test", "details": [{"path": "/x", "message": "because"}]}
        else:
            code, doc = self.route(u.path, parse_qs(u.query), body)
        data = (doc if isinstance(doc, str) else json.dumps(doc)).encode()
        h.send_response(code)
        h.send_header("Content-Type", "text/plain" if isinstance(doc, str) else "application/json")
        h.send_header("Content-Length", str(len(data)))
        h.end_headers()
        h.wfile.write(data)


def main():
    args = sys.argv[1:]
    def value(name, other):
        return int(args[args.index(name) + 1]) if name in args else other
    fake = Fake(value("--jobs", 40), "--live" in args, value("--port", 0))
    print(fake.url, flush=True)
    while "--forever" in args:
        time.sleep(3600)
    for line in sys.stdin:
        word = line.split()
        if len(word) == 3 and word[0] == "fail":
            fake.fail[word[1]] = int(word[2]) if word[2].isdigit() else word[2]
        elif word[:1] == ["ok"]:
            fake.fail.clear()
    fake.close()
    os._exit(0)


if __name__ == "__main__":
    main()
