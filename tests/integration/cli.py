#!/usr/bin/env python3
"""The `odto` command against scripted peers: a gateway and a read model in Python, and a host that speaks the
control protocol (SP REQ/REP over a Unix socket) written from its specification."""
import http.server
import json
import os
import pathlib
import pty
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.environ.get("ODTO_SRCDIR", os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))), "tests", "lib"))
import odto  # noqa: E402

EVIL = "a\x1b[31mred\x07\u202e\u009b2Jx"
UUID = "0189aaaa-0000-7000-8000-%012x"


class Peer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, value, headers=()):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for k, v in headers:
            self.send_header(k, v)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.server.seen.append(("GET", self.path, None))
        self.server.get(self)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append(("POST", self.path, json.loads(body)))
        self.server.post(self, json.loads(body))


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, get=None, post=None):
        super().__init__(("127.0.0.1", 0), Peer)
        self.get, self.post, self.seen = get, post, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class ControlHost:
    """Answers requests on a Unix socket by a function verb, args → data or an error dictionary."""

    def __init__(self, answer):
        self.dir = tempfile.mkdtemp(prefix="odto-cli-")
        self.path = os.path.join(self.dir, "control.sock")
        self.answer, self.seen = answer, []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                c, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    @staticmethod
    def exactly(c, n):
        out = b""
        while len(out) < n:
            part = c.recv(n - len(out))
            if not part:
                raise EOFError
            out += part
        return out

    def serve(self, c):
        try:
            c.sendall(b"\0SP\0\0\x31\0\0")
            assert self.exactly(c, 8) == b"\0SP\0\0\x30\0\0"
            while True:
                kind, size = struct.unpack(">BQ", self.exactly(c, 9))
                assert kind == 1
                message = self.exactly(c, size)
                request = json.loads(message[4:])
                assert request["v"] == 1
                self.seen.append((request["verb"], request.get("args", {})))
                got = self.answer(request["verb"], request.get("args", {}))
                reply = {"ok": "error" not in got, **got} if "error" in got or "data" in got else {"ok": True, "data": got}
                body = message[:4] + json.dumps(reply).encode()
                c.sendall(struct.pack(">BQ", 1, len(body)) + body)
        except EOFError:
            pass
        finally:
            c.close()

    def close(self):
        self.listener.close()
        shutil.rmtree(self.dir)


def run(*args, gateway=None, read_model=None, control=None, stdin="", env=None):
    e = {k: v for k, v in os.environ.items() if not k.startswith("ODTO_") and not k.endswith("_URL")}
    e.update({"GATEWAY_URL": gateway.url if gateway else "http://127.0.0.1:1",
              "READ_MODEL_URL": read_model.url if read_model else "http://127.0.0.1:1",
              "ODTO_SOCKET": control.path if control else "/nonexistent/control.sock", "TZ": "UTC", **(env or {})})
    return subprocess.run([str(odto.ODTO), *args], input=stdin, capture_output=True, text=True, env=e,
                          timeout=60 * odto.SLOW)


def expect(r, code, *texts):
    odto.equal(r.returncode, code, f"exit status (stdout {r.stdout[-800:]!r}, stderr {r.stderr[-800:]!r})")
    for t in texts:
        odto.contains(r.stdout + r.stderr, t, "output")


def accepting(h, body):
    def one(job):
        return {"jobId": job["id"], "eventId": UUID % 99}
    if h.path == "/v1/jobs/batch":
        h.answer(202, {"accepted": len(body), "jobs": [one(j) for j in body]})
    else:
        h.answer(202, one(body))


suite = odto.Suite()


@suite.test("help, version and wrong command lines")
def _():
    expect(run("--help"), 0, "Usage: odto", "Exit status")
    expect(run("-V"), 0, "odto ")
    expect(run("dlq", "list", "--help"), 0, "Usage: odto dlq list", "--topic TOPIC")
    expect(run("help", "submit"), 0, "--wait-timeout")
    page = run("__man").stdout
    odto.check(page.startswith(".TH ODTO 1"), "a manual page")
    for word in (".SS dlq list", "\\-\\-wait\\-timeout", ".SH EXIT STATUS"):
        odto.contains(page, word)
    if shutil.which("man"):
        r = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-"], input=page, capture_output=True, text=True)
        odto.equal((r.returncode, r.stderr), (0, ""), "man --warnings")
    for args, text in (((), "Usage"), (("sumbit",), "did you mean odto submit?"), (("dlq",), "needs a further word"),
                       (("jobs", "--limt", "3"), "did you mean --limit?"), (("jobs", "-n"), "needs a value"),
                       (("jobs", "--json=1"), "takes no value"), (("reload", "a", "b"), "unexpected argument b"),
                       (("jobs", "--limit", "x"), "not a number"), (("job", "show", "x"), "is no job id"),
                       (("status", "--color", "pink"), "always"), (("submit",), "what shall be submitted?"),
                       (("submit", "echo", "-p", "[]"), "a JSON object is needed"), (("dlq", "purge"), "--all")):
        expect(run(*args), 2, text)


@suite.test("nobody there")
def _():
    expect(run("status"), 3, "no host answers on /nonexistent/control.sock", "ODTO_SOCKET")
    expect(run("jobs"), 3, "no answer from http://127.0.0.1:1/jobs")
    r = run("submit", "echo", "--json")
    expect(r, 3)
    odto.equal(json.loads(r.stderr)["error"]["exit"], 3)


@suite.test("submit one job by options")
def _():
    g = Server(post=accepting)
    r = run("submit", "echo", "-p", '{"n":1.50,"s":"x"}', "--priority", "-3", "--delay", "90s", "--attempts", "2",
            "--run-timeout", "1m", gateway=g)
    expect(r, 0, "accepted")
    method, path, job = g.seen[0]
    odto.equal((method, path), ("POST", "/jobs"))
    odto.equal(job["payload"], {"n": 1.5, "s": "x"})
    odto.equal(job["options"], {"priority": -3, "maxAttempts": 2, "delaySeconds": 90, "timeoutSeconds": 60})
    odto.equal((job["type"], job["status"]), ("echo", "PENDING"))
    odto.matches(job["id"], "^[0-9a-f]{8}-[0-9a-f]{4}-7")
    odto.matches(job["createdAt"], "Z$")
    r = run("submit", "echo", "--id", UUID % 1, "-q", gateway=g)
    odto.equal(r.stdout, UUID % 1 + "\n")
    r = run("submit", "echo", "--id", UUID % 1, "--json", gateway=g)
    odto.equal(json.loads(r.stdout), {"jobId": UUID % 1, "eventId": UUID % 99})


@suite.test("submit from files and standard input, in batches")
def _():
    g = Server(post=accepting)
    lines = "".join(json.dumps({"type": "echo", "payload": {"n": i}}) + "\n" for i in range(250))
    expect(run("submit", "-f", "-", gateway=g, stdin=lines), 0, "250 accepted, 0 refused")
    odto.equal([len(b) for _, p, b in g.seen if p == "/v1/jobs/batch"], [100, 100, 50])
    odto.equal([j["payload"]["n"] for _, _, b in g.seen for j in b], list(range(250)))
    del g.seen[:]
    array = json.dumps([json.loads(x) for x in lines.splitlines()[:3]], indent=2)
    expect(run("submit", "-f", "-", gateway=g, stdin=array), 0, "3 accepted")
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        f.write('{\n  "type": "echo",\n  "payload": {"text": "}{\\"["}\n}\n')
        f.flush()
        expect(run("submit", "-f", f.name, gateway=g), 0, "accepted")
    odto.equal(g.seen[-1][2]["payload"], {"text": '}{"['})
    r = run("submit", "-f", "-", gateway=g, stdin='{"type":"a"}\n{"type":}\n{"type":"b"}\n')
    expect(r, 1, "standard input:2", "2 accepted, 1 refused")
    expect(run("submit", "-f", "-", gateway=g, stdin='{"type":"a"}\nnonsense'), 1, "standard input:2:1", "no job begins")
    expect(run("submit", "-f", "-", gateway=g, stdin='[{"type":"a"}'), 1, "not closed by ]")
    expect(run("submit", "-f", "-", gateway=g, stdin='{"type":"a"'), 1, "ends within a job")
    expect(run("submit", "-f", "/nonexistent", gateway=g), 2, "No such file")


@suite.test("a gateway without batches, one that refuses some, one that is full for a while")
def _():
    def old(h, body):
        if h.path != "/jobs":
            h.answer(404, {"error": "Not found"})
        elif body["type"] == "bad":
            h.answer(400, {"error": "Invalid job data", "details": [{"path": "/type", "message": "must be good"}]})
        else:
            accepting(h, body)
    g = Server(post=old)
    r = run("submit", "-f", "-", gateway=g, stdin='{"type":"a"}\n{"type":"bad"}\n{"type":"b"}\n')
    expect(r, 1, "standard input:2: ", "Invalid job data: /type must be good", "2 accepted, 1 refused")

    tries = []

    def full(h, body):
        tries.append(body["id"])
        if len(tries) < 3:
            h.answer(503, {"error": "Service unavailable"}, [("Retry-After", "1")])
        else:
            accepting(h, body)
    expect(run("submit", "echo", gateway=Server(post=full)), 0, "accepted")
    odto.equal(len(tries), 3)
    odto.equal(len(set(tries)), 1, "ids used")


def job(i, status="COMPLETED", **more):
    return {"id": UUID % i, "type": "echo", "status": status, "createdAt": "2025-01-02T03:04:05.678Z", "outcome": "ok",
            "attempt": 1, "maxAttempts": 3, "timings": {"totalMs": 12}, "attempts": [], "payload": {}, **more}


@suite.test("submit --wait tells how jobs ended")
def _():
    looks = {}

    def get(h):
        n = looks[h.path] = looks.get(h.path, 0) + 1
        i = h.path[-1]
        if n == 1:
            h.answer(404, {"error": "Not found"})
        elif n == 2:
            h.answer(200, job(int(i), "EXECUTING"))
        elif i == "2":
            h.answer(200, job(2, "FAILED", outcome="error", error="it broke " + EVIL, attempt=3))
        else:
            h.answer(200, job(int(i), result={"ok": True}))
    g, r = Server(post=accepting), Server(get=get)
    done = run("submit", "echo", "--id", UUID % 1, "--wait", gateway=g, read_model=r)
    expect(done, 0, "COMPLETED  " + UUID % 1, "12ms", '{"ok":true}')
    done = run("submit", "echo", "--id", UUID % 2, "--wait", gateway=g, read_model=r)
    expect(done, 1, "FAILED", "3 attempts", "it broke a?[31mred??")
    odto.check("\x1b" not in done.stdout and "\u202e" not in done.stdout, "control characters are stripped")
    done = run("submit", "echo", "--id", UUID % 3, "--wait", "--json", gateway=g, read_model=r)
    odto.equal(json.loads(done.stdout)["result"], {"ok": True})
    never = Server(get=lambda h: h.answer(200, job(4, "PENDING")))
    done = run("submit", "echo", "--id", UUID % 4, "--wait", "--wait-timeout", "200ms", gateway=g, read_model=never)
    expect(done, 5, "has not ended in time")


@suite.test("jobs, job show, stats, events")
def _():
    def get(h):
        if h.path.startswith("/jobs?"):
            h.answer(200, {"jobs": [job(1), job(2, "FAILED", outcome="timeout")], "nextCursor": None if "cursor=" in h.path
                           else "a b"})
        elif h.path == "/jobs/" + UUID % 7:
            h.answer(404, {"error": "Not found", "details": [{"path": "/id", "message": "no job has this id (yet)"}]})
        elif h.path.startswith("/jobs/"):
            h.answer(200, job(1, "FAILED", outcome="error", error="boom", payload={"a": 1}, attempts=[
                {"number": 1, "outcome": "error", "startedAt": "2025-01-02T03:04:05Z", "finishedAt": "2025-01-02T03:04:06Z",
                 "durationMs": 1000, "error": "boom", "log": "line one\n" + EVIL, "host": "h"}]))
        elif h.path == "/stats":
            h.answer(200, {"totalJobs": 3, "completedJobs": 2, "failedJobs": 1, "pendingJobs": 4, "executingJobs": 0,
                           "lastEventTime": "2025-01-02T03:04:05Z"})
        else:
            h.answer(503, {"error": "Store unavailable", "details": [{"path": "/", "message": "sqlite is away"}]})
    r = Server(get=get)
    out = run("jobs", "--status", "FAILED", "--type", "a&b c", read_model=r)
    expect(out, 0, "ID  ", UUID % 1, "COMPLETED", "timeout", "--cursor a b")
    odto.equal(r.seen[-1][1], "/jobs?status=FAILED&type=a%26b%20c&limit=20")
    expect(run("jobs", "--all", read_model=r), 0)
    odto.equal(r.seen[-1][1], "/jobs?cursor=a%20b&limit=500")
    odto.equal(json.loads(run("jobs", "-j", read_model=r).stdout)["nextCursor"], "a b")
    out = run("job", "show", UUID % 1, read_model=r)
    expect(out, 0, "attempt     1 of 3", 'payload     {"a":1}', "error       boom", "log of attempt 1", "  line one")
    odto.check("\x1b" not in out.stdout, "no escape reaches the terminal")
    expect(run("job", "show", UUID % 7, read_model=r), 4, "no job has this id (yet)")
    expect(run("stats", read_model=r), 0, "completed   2", "finished    3")
    expect(run("events", read_model=r), 3, "Store unavailable", "sqlite is away")


@suite.test("events --follow comes back where it was")
def _():
    asked = []

    def event(i):
        return {"eventType": "job.completed", "occurredAt": "2025-01-02T03:04:05Z", "payload": {"id": UUID % i, "type": "t",
                                                                                               "status": "COMPLETED"}}

    def get(h):
        asked.append(h.headers.get("Last-Event-ID"))
        h.send_response(200)
        h.send_header("Content-Type", "text/event-stream")
        h.send_header("Connection", "close")
        h.end_headers()
        first = 10 * len(asked)
        h.wfile.write(b": hello\n\n")
        for i in (first, first + 1):
            text = f"id: {i}\r\ndata: {json.dumps(event(i))}\r\n\r\n"
            h.wfile.write(text[:7].encode())
            h.wfile.flush()
            h.wfile.write(text[7:].encode())
        h.close_connection = True
    r = run("events", "--follow", "--limit", "4", "--json", read_model=Server(get=get))
    expect(r, 0)
    odto.equal([json.loads(x)["payload"]["id"] for x in r.stdout.splitlines()], [UUID % i for i in (10, 11, 20, 21)])
    odto.equal(asked, [None, "11"])


STATUS = {"host": "h1", "version": "0.1.0", "pid": 7, "ready": True, "uptimeMs": 65000, "startedAt": "2025-01-02T03:04:05Z",
          "manifest": "/etc/odto.ini", "dataDir": "/d", "generation": 2, "instances": {"total": 3, "ready": 3, "failed": 0}}


@suite.test("status, health, plugins, routes of a host")
def _():
    def answer(verb, args):
        if verb == "status":
            return STATUS
        if verb == "health":
            return {"ready": False, "reason": "gateway is not ready", "instances": [
                {"name": "gateway", "ready": False, "reason": "route full"}]}
        if verb == "plugins":
            return {"plugins": [{"name": "gateway", "kind": "service", "module": "gateway", "version": "1", "state": "BACKOFF",
                                 "generation": 4, "restarts": 2, "uptimeMs": 900, "lastError": EVIL}]}
        if verb == "routes":
            return {"routes": [{"topic": "jobs.created", "transport": "spool", "depth": 5, "capacity": 10, "published": 100,
                                "oldestAgeMs": 1500, "bytesOnDisk": 2048}]}
        return {"error": {"code": -38, "message": f"the host knows no verb \"{verb}\"", "hint": "did you mean \"x\"?"}}
    c = ControlHost(answer)
    expect(run("status", control=c), 0, "host      h1", "state     ready", "1m05s", "3 ready of 3")
    odto.equal(json.loads(run("status", "--json", control=c).stdout), STATUS)
    two = run("status", "-s", c.path, "-s", "/nonexistent/x")
    expect(two, 3, "host      h1", "no host answers on /nonexistent/x")
    expect(run("health", control=c), 3, "route full", "host is not ready: gateway is not ready")
    expect(run("plugins", "gateway", control=c), 0, "BACKOFF", "a?[31mred")
    odto.equal(c.seen[-1], ("plugins", {"name": "gateway"}))
    expect(run("routes", control=c), 0, "jobs.created", "spool", "1.5s", "2.0K")
    expect(run("metrics", control=c), 1, "the host knows no verb", "did you mean")
    c.close()


@suite.test("changes of a host and their verdicts")
def _():
    def answer(verb, args):
        if verb == "reload" and not args:
            return {"verdicts": [{"name": "gateway", "action": "reloaded", "generation": 2, "durationMs": 40, "pauseMs": 3},
                                 {"name": "metrics", "action": "unchanged", "generation": 1, "durationMs": 0}]}
        if verb == "reload":
            return {"error": {"code": -22, "message": "gateway was rolled back"}, "data": {"verdicts": [
                {"name": "gateway", "action": "rolled-back", "step": "probe", "reason": "crashed in init", "generation": 1}]}}
        if verb in ("print", "metrics"):
            return {"text": f"{verb} of it\n"}
        return {}
    c = ControlHost(answer)
    expect(run("reload", control=c), 0, "reloaded", "40ms", "3ms", "unchanged")
    expect(run("reload", "--wait", control=c), 0, "reloaded")
    expect(run("reload", "gateway", control=c), 1, "rolled-back", "probe", "crashed in init", "gateway was rolled back")
    for args, want in ((("enable", "p"), ("enable", {"name": "p"})), (("disable", "p"), ("disable", {"name": "p"})),
                       (("drain",), ("drain", {})), (("log-level", "debug"), ("log-level", {"level": "debug"})),
                       (("log-level", "warn", "-p", "x"), ("log-level", {"level": "warn", "plugin": "x"})),
                       (("stop",), ("stop", {})), (("reopen-log",), ("reopen-log", {}))):
        expect(run(*args, control=c), 0)
        odto.equal(c.seen[-1], want)
    odto.equal(run("print", control=c).stdout, "print of it\n")
    odto.equal(run("metrics", control=c).stdout, "metrics of it\n")
    c.close()


@suite.test("dead letters")
def _():
    letter = {"original_event": {"eventId": "e"}, "validation_error": "bad thing", "rejected_at": "2025-01-02T03:04:05Z",
              "correlation_id": "unknown", "service": "processor", "service_version": "1"}

    def answer(verb, args):
        if verb == "dlq-list":
            return {"letters": [{"id": "jobs.failed.validation:1", "topic": "jobs.failed.validation", "originalTopic":
                                 "jobs.created", "reason": "bad thing", "rejectedAt": "2025-01-02T03:04:05Z", "size": 300,
                                 "correlationId": "unknown"}], "next": ""}
        if verb == "dlq-show":
            return {"letter": letter} if args["id"] == "1" else {"error": {"code": -2, "message": "no such dead letter"}}
        return {"count": 5 if args.get("all") else 1}
    c = ControlHost(answer)
    expect(run("dlq", "list", "-t", "jobs.failed.validation", control=c), 0, "jobs.created", "bad thing")
    odto.equal(c.seen[-1], ("dlq-list", {"topic": "jobs.failed.validation", "limit": 50}))
    expect(run("dlq", "show", "1", control=c), 0, "reason      bad thing", '"eventId": "e"')
    expect(run("dlq", "show", "2", control=c), 4, "no such dead letter")
    expect(run("dlq", "requeue", "1", "2", control=c), 0, "2 sent again")
    odto.equal(c.seen[-1], ("dlq-requeue", {"id": "2"}))
    expect(run("dlq", "purge", "--all", "--topic", "t", "--yes", control=c), 0, "5 forgotten")
    odto.equal(c.seen[-1], ("dlq-purge", {"all": True, "topic": "t"}))
    odto.equal(json.loads(run("dlq", "requeue", "1", "-j", control=c).stdout), {"count": 1})
    c.close()


@suite.test("tail asks for what comes next")
def _():
    def answer(verb, args):
        n = args.get("after", 0)
        return {"events": [{"seq": n + 1, "topic": "jobs.created", "body": {
            "eventType": "job.created", "occurredAt": "2025-01-02T03:04:05Z", "payload": {"id": UUID % n, "type": "echo"}}}],
            "next": n + 1}
    c = ControlHost(answer)
    r = run("tail", "jobs.created", "-n", "3", control=c)
    expect(r, 0, UUID % 0, UUID % 2)
    odto.equal(len(r.stdout.splitlines()), 3)
    odto.equal([a.get("after") for _, a in c.seen], [None, 1, 2])
    c.close()


@suite.test("colours and cut columns on a terminal only")
def _():
    long = "reason " * 40
    c = ControlHost(lambda verb, args: {"plugins": [{"name": "p", "state": "READY", "reason": long}]})
    odto.check("\x1b[" not in run("plugins", control=c).stdout, "no colours in a pipe")
    odto.contains(run("plugins", "--color", "always", control=c).stdout, "\x1b[32mREADY\x1b[0m")
    master, slave = pty.openpty()
    import fcntl
    import termios
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    env = {**os.environ, "ODTO_SOCKET": c.path, "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    env.pop("NO_COLOR", None)
    p = subprocess.Popen([str(odto.ODTO), "plugins"], stdout=slave, stderr=slave, env=env)
    os.close(slave)
    out = b""
    while select.select([master], [], [], 10 * odto.SLOW)[0]:
        try:
            part = os.read(master, 65536)
        except OSError:
            break
        if not part:
            break
        out += part
    odto.equal(p.wait(), 0)
    os.close(master)
    text = out.decode()
    odto.contains(text, "\x1b[32mREADY")
    odto.contains(text, "…")
    for line in text.splitlines():
        plain = line.replace("\x1b[0m", "").replace("\x1b[32m", "").replace("\x1b[1m", "")
        odto.check(len(plain) <= 100, f"a line of {len(plain)} columns: {plain!r}")
    c.close()


def doctor(manifest, code, **env):
    """The lines of `odto doctor --json` for a manifest, by name."""
    with tempfile.TemporaryDirectory(prefix="odto-doctor-") as d:
        os.chmod(d, 0o755)
        path = pathlib.Path(d, "m.ini")
        path.write_text(f"[host]\ndata_dir = {d}/data\nplugin_dir = {odto.BUILD / 'plugins.d'}\n{manifest}")
        r = run("doctor", "--json", "--manifest", str(path),
                env={"GATEWAY_URL": "", "READ_MODEL_URL": "", "LC_ALL": "C.UTF-8", **env})
        expect(r, code)
        odto.check("hunter2" not in r.stdout + r.stderr, "no password")
        return {row["name"]: row for row in map(json.loads, r.stdout.splitlines())}


def listener():
    s = socket.create_server(("127.0.0.1", 0))
    return s, s.getsockname()[1]


@suite.test("doctor: the manifest's own ports, free and taken")
def _():
    port = odto.free_port()
    taken, other = listener()
    gateway = "[plugin gateway]\nlisten = 127.0.0.1:${DOCTOR_PORT:-%d} ; here\n" % port
    rows = doctor(gateway, 0)
    odto.equal(rows[f"{port} gateway"]["detail"], "free")
    odto.equal([r["name"] for r in rows.values() if r["section"] == "ports"], [f"{port} gateway"])
    odto.contains(rows["servers"]["detail"], "none configured")
    row = doctor(gateway, 1, DOCTOR_PORT=str(other))[f"{other} gateway"]
    odto.equal(row["verdict"], "FAIL")
    odto.contains(row["detail"], f"(pid {os.getpid()})")
    odto.contains(row["hint"], "set listen in the manifest")
    row = doctor("[plugin pty]\nlisten = 127.0.0.1:1\n", 1, PTY_WS_PORT=str(other), PTY_METRICS_PORT=str(port))
    odto.equal(row[f"{other} pty"]["verdict"], "FAIL")
    odto.equal(row[f"{port} pty"]["verdict"], "OK")
    row = doctor(f"[plugin gateway]\nlisten = 192.0.2.1:{port}\n", 1)[f"{port} gateway"]
    odto.contains(row["detail"], "cannot listen on 192.0.2.1")
    taken.close()


@suite.test("doctor: a port whose owner cannot be told is a warning")
def _():
    if os.getuid() != 0 or not shutil.which("setpriv"):
        raise odto.Skip("needs root and setpriv (Debian: util-linux): only root can be another user")
    taken, port = listener()
    with tempfile.TemporaryDirectory(prefix="odto-doctor-") as d:
        os.chmod(d, 0o755)
        program = shutil.copy(odto.ODTO, d)
        path = pathlib.Path(d, "m.ini")
        path.write_text(f"[plugin pty]\nlisten = 127.0.0.1:{port}\nlisten_http = 127.0.0.1:0\n")
        r = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program, "doctor", "--json",
                            "--manifest", str(path), "--data-dir", "/tmp"], capture_output=True, text=True, timeout=60)
    rows = {row["name"]: row for row in map(json.loads, r.stdout.splitlines())}
    odto.equal(rows[f"{port} pty"]["verdict"], "WARN", r.stdout + r.stderr)
    odto.contains(rows[f"{port} pty"]["detail"], "may not look at")
    taken.close()


@suite.test("doctor: a broken manifest is refused with its line")
def _():
    row = doctor("nonsense = 1\n", 1)["manifest"]
    odto.equal(row["verdict"], "FAIL")
    odto.contains(row["hint"], "m.ini:4:1: error: unknown key nonsense")


@suite.test("doctor: the manifest's servers, away, by variable and with TLS")
def _():
    tls, port = listener()
    servers = ("[bridge rabbitmq]\n"
               "[store jobs]\nmodule = postgres\nurl = ${POSTGRES_URL:-postgresql://u:hunter2@127.0.0.1:1/db}\n"
               f"[store counters]\nmodule = redis\nurl = rediss://:hunter2@127.0.0.1:{port}/0\n"
               "[store off]\nenabled = no\nmodule = mongo\n")
    rows = doctor(servers, 1, RABBITMQ_URL=f"amqps://u:hunter2@127.0.0.1:1,amqps://u:hunter2@127.0.0.1:{port}")
    odto.equal((rows["PostgreSQL"]["verdict"], rows["PostgreSQL"]["detail"]), ("FAIL", "nothing listens on 127.0.0.1:1"))
    odto.contains(rows["PostgreSQL"]["hint"], "[store jobs]")
    for name in ("Redis", "RabbitMQ"):  # the second broker is there
        odto.equal((name, rows[name]["verdict"]), (name, "OK"))
        odto.contains(rows[name]["detail"], f"listens on 127.0.0.1:{port} (TLS, not asked further)")
    odto.check("MongoDB" not in rows, "a section that is off wants no server")
    rows = doctor(servers, 1, RABBITMQ_URL="amqp://u:hunter2@127.0.0.1:2/", POSTGRES_URL="postgresql://127.0.0.1:3/db",
                  REDIS_URL="127.0.0.1:4")
    for name, n in (("RabbitMQ", 2), ("PostgreSQL", 3), ("Redis", 4)):
        odto.equal((rows[name]["verdict"], rows[name]["detail"]), ("FAIL", f"nothing listens on 127.0.0.1:{n}"))
    tls.close()


@suite.test("completion scripts are valid in their shells")
def _():
    c = ControlHost(lambda verb, args: {"plugins": [{"name": "gateway"}, {"name": "processor"}],
                                        "routes": [{"topic": "jobs.created"}]})
    odto.equal(run("__complete", "plugins", control=c).stdout, "gateway\nprocessor\n")
    odto.equal(run("__complete", "topics", control=c).stdout, "jobs.created\n")
    odto.equal(run("__complete", "plugins").stdout, "")
    scripts = {s: run("completion", s).stdout for s in ("bash", "zsh", "fish")}
    expect(run("completion", "csh"), 2)
    for shell, text in scripts.items():
        if shutil.which(shell):
            r = subprocess.run([shell, "-n"], input=text, capture_output=True, text=True)
            odto.equal((r.returncode, r.stderr), (0, ""), f"{shell} -n")

    def bash(words):
        line = scripts["bash"] + f"\nCOMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _odto; " \
                                 "printf '%s\\n' \"${COMPREPLY[@]}\""
        env = {**os.environ, "ODTO_SOCKET": c.path, "PATH": f"{pathlib.Path(odto.ODTO).parent}:{os.environ['PATH']}"}
        r = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=env)
        return r.stdout.split()
    odto.contains(bash("odto ''"), "submit")
    odto.equal(bash("odto dlq re"), ["requeue"])
    odto.equal(bash("odto jobs --status F"), ["FAILED"])
    odto.equal(bash("odto reload g"), ["gateway"])
    odto.equal(bash("odto --json -s x disable p"), ["processor"])
    odto.contains(bash("odto jobs --"), "--cursor")
    c.close()


odto.HOST = odto.ODTO  # no host is needed here
suite.main()
