#!/usr/bin/env python3
"""The processor and the handlers in a real host: jobs over HTTP, executed by commands, workers and web services,
with everything that may go wrong on their way; drain, restart and reload while jobs run."""
import http.server
import json
import os
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import odto  # noqa: E402
from odto import check, contains, equal, wait_until  # noqa: E402

WORKER = odto.BUILD / "tests/helpers/job_worker"
suite = odto.Suite()


class Hook(http.server.BaseHTTPRequestHandler):
    """503 on the first attempt of a job whose payload says so, else 200."""
    protocol_version = "HTTP/1.1"
    seen = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Hook.seen.append((dict(self.headers), json.loads(body)))
        busy = json.loads(body)["payload"].get("busy") and self.headers["ODTO-Attempt"] == "1"
        text = b"" if busy else b'{"answer":42}'
        self.send_response(503 if busy else 200)
        if busy:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args):
        pass


class Host(odto.Host):
    def __init__(self, changes=None):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        handlers = {
            "handler copy": {"module": "exec", "types": "copy", "command": f"{WORKER} echo"},
            "handler greet": {"module": "exec", "types": "greet", "concurrency": "2",
                              "command": f"{WORKER} args -- {{payload.name}} {{id}} {{attempt}}"},
            "handler broken": {"module": "exec", "types": "broken", "command": f"{WORKER} exit 3", "max_attempts": "3",
                               "backoff": "20ms", "backoff_max": "50ms"},
            "handler refused": {"module": "exec", "types": "refused", "command": f"{WORKER} exit 65"},
            "handler stuck": {"module": "exec", "types": "stuck", "command": f"{WORKER} hang", "timeout": "300ms",
                              "max_attempts": "1", "grace": "100ms"},
            "handler worker": {"module": "pipe", "types": "worker", "command": f"{WORKER} pipe", "workers": "2",
                               "concurrency": "8", "backoff": "20ms", "backoff_max": "50ms"},
            "handler hook": {"module": "http", "types": "hook", "allow_private": "127.0.0.1",
                             "url": f"http://127.0.0.1:{self.server.server_port}/jobs", "secret": "top secret"},
        }
        super().__init__({**handlers, **(changes or {})})

    def cleanup(self):
        self.server.shutdown()
        super().cleanup()

    def dead_letters(self):
        r = self.odto("dlq", "list", "--json")
        return r.stdout


# ---- handlers -----------------------------------------------------------------------------------

@suite.test("exec: payload in, result out, and the row tells of the attempt")
def _(host):
    job = host.wait_job(host.submit(type="copy", payload={"a": [1, 2, "ü"]}))
    equal(job["status"], "COMPLETED")
    equal(job["result"], {"a": [1, 2, "ü"]})
    equal([a["outcome"] for a in job["attempts"]], ["ok"])


@suite.test("exec: values of the payload are whole arguments")
def _(host):
    job = host.wait_job(host.submit(type="greet", payload={"name": "--x; $(id) 'a b'"}))
    equal(job["status"], "COMPLETED")
    check(str(job["result"]).startswith("--\n--x; $(id) 'a b'\n" + job["id"]), job["result"])
    job = host.wait_job(host.submit(type="greet", payload={}))
    equal(job["status"], "FAILED")
    contains(job["error"], "{payload.name} is not in the job")


@suite.test("exec: retries until the attempts are used up, then a dead letter and job.failed")
def _(host):
    job = host.wait_job(host.submit(type="broken"))
    equal(job["status"], "FAILED")
    equal(len(job["attempts"]), 3)
    equal(job["error"], "exit status 3: reason: 3")
    contains(job["attempts"][0].get("log", "first line"), "first line")
    wait_until(lambda: job["correlationId"] in host.dead_letters(), what="the dead letter")
    events = wait_until(lambda: host.read_model.get(f"/events?jobId={job['id']}").json, what="the event")
    equal([e["eventType"] for e in events if e["eventType"] != "job.created"], ["job.failed"])


@suite.test("exec: exit 65 is not tried again")
def _(host):
    job = host.wait_job(host.submit(type="refused"))
    equal((job["status"], job["outcome"], len(job["attempts"])), ("FAILED", "discarded", 1))


@suite.test("exec: a command that hangs and ignores SIGTERM is killed at its timeout")
def _(host):
    job = host.wait_job(host.submit(type="stuck"))
    equal((job["status"], job["outcome"]), ("FAILED", "timeout"))
    contains(job["error"], "ignored SIGTERM: killed")


@suite.test("pipe: results, errors, and a worker that dies under a job")
def _(host):
    ok = host.submit(type="worker", payload={"do": "echo", "n": 1})
    bad = host.submit(type="worker", payload={"do": "discard"})
    dead = host.submit(type="worker", payload={"do": "crash"})
    equal(host.wait_job(ok)["result"], {"do": "echo", "n": 1})
    equal(host.wait_job(bad)["outcome"], "discarded")
    job = host.wait_job(dead)
    equal(job["status"], "FAILED")
    check(all(a["outcome"] in ("lost", "poison") for a in job["attempts"]), job["attempts"])
    equal(host.wait_job(host.submit(type="worker"))["status"], "COMPLETED")


@suite.test("http: signed request, result; Retry-After is kept")
def _(host):
    job = host.wait_job(host.submit(type="hook", payload={"n": 1}))
    equal(job["result"], {"answer": 42})
    headers, body = Hook.seen[-1]
    equal((body["id"], body["payload"]), (job["id"], {"n": 1}))
    check(headers["webhook-signature"].startswith("v1,"))
    equal(headers["Idempotency-Key"], job["id"])
    job = host.wait_job(host.submit(type="hook", payload={"busy": True}))
    equal((job["status"], len(job["attempts"])), ("COMPLETED", 2))
    waited = odto_ms(job["attempts"][1]["startedAt"]) - odto_ms(job["attempts"][0]["finishedAt"])
    check(waited >= 990, f"waited {waited} ms, Retry-After was 1 s")


def odto_ms(text):
    whole, _, fraction = text.rstrip("Z").partition(".")
    return int(time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))) * 1000 + int(fraction)


# ---- options of a job ---------------------------------------------------------------------------

@suite.test("options: delay, attempts, timeout, expiry, priority")
def _(host):
    late = host.submit(options={"delaySeconds": 0.5})
    once = host.submit(type="fail", payload={}, options={"maxAttempts": 1})
    slow = host.submit(type="sleep", payload={"ms": 60000}, options={"timeoutSeconds": 0.1, "maxAttempts": 1})
    old = host.submit(options={"expiresAt": "2020-01-01T00:00:00Z"})
    equal(host.job(late)["status"] if host.job(late) else "PENDING", "PENDING")
    equal(len(host.wait_job(once)["attempts"]), 1)
    equal(host.wait_job(slow)["outcome"], "timeout")
    equal(host.wait_job(old)["outcome"], "expired")
    job = host.wait_job(late)
    equal(job["status"], "COMPLETED")
    check(job["timings"]["totalMs"] >= 500, job["timings"])


@suite.test("a type nobody handles: failed, with what to write into the manifest")
def _(host):
    job = host.wait_job(host.submit(type="nobody"))
    equal(job["status"], "FAILED")
    contains(job["error"], "[handler nobody]")
    wait_until(lambda: job["correlationId"] in host.dead_letters(), what="the dead letter")


@suite.test("the same job id twice is one execution")
def _(host):
    body = odto.job(type="copy")
    first, second = host.gateway.post("/jobs", body), host.gateway.post("/jobs", body)
    equal((first.status, second.status), (202, 202))
    equal(first.json, second.json)
    host.wait_job(body["id"])
    equal(host.gateway.post("/jobs", body).json, first.json)
    equal(len(host.job(body["id"])["attempts"]), 1)


@suite.test("metrics carry the contract's names, types and buckets")
def _(host):
    text = host.processor.get("/metrics").text
    for name in ("processor_jobs_processed_total", "processor_jobs_completed_total", "processor_jobs_failed_total",
                 "processor_jobs_validation_failed_total"):
        contains(text, f"# HELP {name} ")
        contains(text, f"# TYPE {name} counter")
    contains(text, "# TYPE processor_job_processing_seconds histogram")
    bounds = ".005 .01 .025 .05 .075 .1 .25 .5 .75 1 2.5 5 7.5 10".split()
    found = [line.split('le="')[1].split('"')[0] for line in text.splitlines()
             if line.startswith("processor_job_processing_seconds_bucket")]
    equal([float(b) for b in found[:-1]], [float(b) for b in bounds])
    m = host.processor.metrics()
    check(m["processor_jobs_completed_total"] >= 5 and m["processor_jobs_failed_total"] >= 5)
    # a job's row is there a moment before its place is free again
    wait_until(lambda: host.processor.metrics()['odto_queue_jobs{queue="default",state="running"}'] == 0, what="nothing runs")


# ---- drain, restart, reload ---------------------------------------------------------------------

@suite.test("SIGTERM: what runs may end, what does not is given back, and both are done after the restart")
def _(host):
    with Host({"host": {"shutdown_timeout": "2s"}}) as h:
        short = h.submit(type="sleep", payload={"ms": 400})
        long = h.submit(type="sleep", payload={"ms": 3500}, options={"maxAttempts": 1})
        waiting = h.submit(options={"delaySeconds": 3600})
        wait_until(lambda: all((h.job(j) or {}).get("status") == "EXECUTING" for j in (short, long)), what="running")
        equal(h.stop(), 0)
        h.start()
        equal(h.wait_job(short)["attempt"], 1)
        job = h.wait_job(long)
        equal((job["status"], job["attempt"], job["lost"]), ("COMPLETED", 1, 0))
        equal(h.job(waiting)["status"], "PENDING")


@suite.test("SIGKILL: a job that ran is lost once and done after the restart; its child is gone")
def _(host):
    with Host({"host": {"shutdown_timeout": "2s"}}) as h:
        job = h.submit(type="sleep", payload={"ms": 1500})
        stuck = h.submit(type="stuck", options={"timeoutSeconds": 60, "maxAttempts": 2})
        wait_until(lambda: all((h.job(j) or {}).get("status") == "EXECUTING" for j in (job, stuck)), what="running")
        children = wait_until(lambda: children_of(h.process.pid), what="the child")
        h.kill()
        wait_until(lambda: not any(os.path.exists(f"/proc/{c}/exe") and alive(c) for c in children), what="no children")
        h.start()
        got = h.wait_job(job)
        equal((got["status"], got["attempt"], got["lost"]), ("COMPLETED", 2, 1))
        equal([a["outcome"] for a in got["attempts"]], ["lost", "ok"])
        wait_until(lambda: (h.job(stuck) or {}).get("attempt") == 2, what="the second attempt")


def children_of(pid):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = pathlib.Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry))
    return found


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@suite.test("reload of a handler and of the processor under load: every job is done once")
def _(host):
    ids, stop, errors = [], threading.Event(), []

    def load():
        while not stop.is_set():
            try:
                ids.append(host.submit(type="worker", payload={"n": len(ids)}))
            except Exception as e:  # noqa: BLE001
                errors.append(e)
                return
    t = threading.Thread(target=load)
    t.start()
    try:
        for name in ("worker", "processor", "worker"):
            before = len(ids)
            r = host.odto("reload", name)
            equal(r.returncode, 0, f"odto reload {name}: {r.stdout}{r.stderr}")
            wait_until(lambda: len(ids) > before + 20 or errors, what="jobs after the reload")
    finally:
        stop.set()
        t.join()
    equal(errors, [])
    for job in ids:
        got = host.wait_job(job, timeout=30)
        equal(got["status"], "COMPLETED", job)
    m = wait_until(lambda: host.stats()["pendingJobs"] == 0, what="nothing pending")
    check(m)


suite.main(Host)
