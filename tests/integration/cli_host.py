#!/usr/bin/env python3
"""The `odto` command against a real host: what it shows is so, what it changes happens."""
import json
import os
import shutil
import stat
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ.get("ODTO_SRCDIR", os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))), "tests", "lib"))
import odto  # noqa: E402


class LoggingHost(odto.Host):
    @property
    def log(self):
        file = self.dir / "odto.log"
        return super().log + (file.read_text(errors="replace") if file.exists() else "")


def host():
    route = {"transport": "memory"}
    h = LoggingHost({"route jobs.created": route, "route jobs.completed": route, "route jobs.failed.validation": route,
                   "host": {"canary": "100ms"}})
    h.manifest["log"]["file"] = str(h.dir / "odto.log")
    return h


def odto_json(h, *args, code=0):
    r = h.odto(*args, "--json")
    odto.equal(r.returncode, code, f"exit status of {args} ({r.stdout[-500:]} {r.stderr[-500:]})")
    return json.loads(r.stdout) if r.stdout else None


def plugin(h, name):
    return next(p for p in odto_json(h, "plugins")["plugins"] if p["name"] == name)


suite = odto.Suite()


@suite.test("status and the socket's mode")
def _(h):
    s = odto_json(h, "status")
    odto.equal((s["ready"], s["pid"], s["dataDir"]), (True, h.process.pid, str(h.data)))
    odto.equal(s["instances"]["ready"], s["instances"]["total"])
    odto.equal(stat.S_IMODE(os.stat(h.control).st_mode), 0o600)
    odto.equal({p["state"] for p in odto_json(h, "plugins")["plugins"]}, {"READY"})
    odto.check(odto_json(h, "health")["ready"], "healthy")
    odto.check({v["name"] for v in odto_ask(h, "verbs")["verbs"]} >= {"status", "reload", "dlq-list", "tail"}, "verbs")


def odto_ask(h, verb):
    """A request as any client of the protocol may make it."""
    import socket
    import struct
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10 * odto.SLOW)
        s.connect(str(h.control))
        s.sendall(b"\0SP\0\0\x30\0\0")
        body = struct.pack(">I", 0x80000001) + json.dumps({"v": 1, "verb": verb}).encode()
        s.sendall(struct.pack(">BQ", 1, len(body)) + body)
        data = b""
        while len(data) < 17 or len(data) < 17 + struct.unpack(">Q", data[9:17])[0]:
            data += s.recv(65536)
        return json.loads(data[21:])["data"]


@suite.test("submit, jobs, job show, events, stats")
def _(h):
    done = odto_json(h, "submit", "echo", "-p", '{"n":1}', "--wait")
    odto.equal((done["status"], done["result"]), ("COMPLETED", {"n": 1}))
    odto.equal(odto_json(h, "job", "show", done["id"])["attempts"][0]["outcome"], "ok")
    odto.check(done["id"] in [j["id"] for j in odto_json(h, "jobs", "--status", "COMPLETED")["jobs"]], "listed")
    events = odto.wait_until(lambda: odto_json(h, "events", "--job", done["id"]), what="the job's event")
    odto.equal(events[0]["eventType"], "job.completed")
    odto.equal(odto_json(h, "stats")["completedJobs"], 1)
    follow = h.odto("events", "-f", "--after", "0", "-n", "1", "--json")
    odto.equal(json.loads(follow.stdout)["eventId"], events[0]["eventId"])


@suite.test("a thousand jobs from standard input")
def _(h):
    lines = "".join(json.dumps({"type": "echo", "payload": {"n": i}}) + "\n" for i in range(1000))
    r = h.odto("submit", "-f", "-", "--wait", "-q", input=lines)
    odto.equal((r.returncode, r.stderr), (0, ""))
    odto.equal(len(set(r.stdout.split())), 1000)


@suite.test("a bad job is refused with its place")
def _(h):
    r = h.odto("submit", "-f", "-", input='{"type":"echo"}\n{"type":"echo","payload":[]}\n')
    odto.equal(r.returncode, 1)
    odto.contains(r.stderr, "standard input:2: ")
    odto.contains(r.stderr, "/payload must be object")
    odto.contains(r.stdout, "1 accepted, 1 refused")


@suite.test("dead letters: list, show, requeue, purge")
def _(h):
    def letters():
        return odto_json(h, "dlq", "list")["letters"]
    failed = odto_json(h, "submit", "fail", "--attempts", "1", "--wait", code=1)
    odto.equal(failed["status"], "FAILED")
    odto.wait_until(letters, what="a dead letter")
    shown = odto_json(h, "dlq", "show", letters()[0]["id"])["letter"]
    odto.equal(shown["original_event"]["payload"]["id"], failed["id"])
    odto.equal(odto_json(h, "dlq", "requeue", letters()[0]["id"]), {"count": 1})
    odto_json(h, "submit", "fail", "--attempts", "1", "--wait", code=1)
    odto.wait_until(letters, what="another dead letter")
    odto.check(odto_json(h, "dlq", "purge", "--all", "-y")["count"] >= 1, "purged")
    odto.equal(letters(), [])


@suite.test("disable, enable, drain")
def _(h):
    odto_json(h, "disable", "gateway")
    odto.equal(plugin(h, "gateway")["state"], "STOPPED")
    odto.equal(h.odto("submit", "echo", "--timeout", "1s").returncode, 3)
    odto_json(h, "enable", "gateway")
    odto.wait_until(lambda: plugin(h, "gateway")["state"] == "READY", what="the gateway is back")
    odto.equal(odto_json(h, "submit", "echo", "--wait")["status"], "COMPLETED")
    r = h.odto("enable", "gatewya")
    odto.equal(r.returncode, 4, r.stderr)


@suite.test("reload: nothing, one plugin, a manifest with mistakes")
def _(h):
    odto.equal({v["action"] for v in odto_json(h, "reload")["verdicts"]}, {"unchanged"})
    before = plugin(h, "gateway")["generation"]
    odto.equal([(v["name"], v["action"]) for v in odto_json(h, "reload", "gateway")["verdicts"]], [("gateway", "reloaded")])
    odto.equal(plugin(h, "gateway")["generation"], before + 1)
    good = h.file.read_text()
    h.file.write_text(good.replace("[plugin gateway]", "[plugin gateway]\nlisten_on = x\nretry_after = soon"))
    r = h.odto("reload")
    odto.equal(r.returncode, 1)
    odto.contains(r.stdout + r.stderr, "unknown key listen_on in [plugin gateway]")
    odto.equal(plugin(h, "gateway")["generation"], before + 1)
    h.file.write_text(good)
    odto_json(h, "reload")


@suite.test("log level and reopening of the log")
def _(h):
    log, old = h.dir / "odto.log", h.dir / "odto.log.1"
    odto_json(h, "log-level", "debug")
    odto_json(h, "log-level", "warn", "--plugin", "gateway")
    odto.equal(h.odto("log-level", "loud").returncode, 1)
    log.rename(old)
    odto_json(h, "reopen-log")
    odto_json(h, "log-level", "info")
    odto.wait_until(lambda: log.exists() and "log-level" in log.read_text(), what="the new log file")
    odto.contains(old.read_text(), "ready")


@suite.test("metrics are good to promtool, print can be loaded again")
def _(h):
    text = h.odto("metrics").stdout
    for name in ("odto_build_info{", "process_resident_memory_bytes ", "gateway_jobs_accepted_total "):
        odto.contains(text, "\n" + name)
    if shutil.which("promtool"):
        r = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
        odto.equal((r.returncode, r.stdout, r.stderr), (0, "", ""))
    copy = h.dir / "printed.ini"
    copy.write_text(h.odto("print").stdout)
    r = subprocess.run([str(odto.HOST), "-c", str(copy), "--check"], capture_output=True, text=True, env=h.environment())
    odto.equal(r.returncode, 0, r.stderr)


@suite.test("tail shows events as they come")
def _(h):
    p = subprocess.Popen([str(odto.ODTO), "tail", "jobs.completed", "-n", "1", "--json"], stdout=subprocess.PIPE, text=True,
                         env={**h.environment(), "ODTO_SOCKET": str(h.control)})
    try:
        def seen():
            h.submit(type="echo")
            return p.poll() is not None
        odto.wait_until(seen, what="tail saw an event", every=0.05)
        odto.equal(json.loads(p.communicate()[0])["topic"], "jobs.completed")
    finally:
        p.kill()
        p.wait()


@suite.test("five mistakes in a manifest are five errors")
def _(h):
    bad = h.dir / "bad.ini"
    bad.write_text("[host]\nshutdown_timout = 5s\n[log]\nlevel = loud\n[rote x]\n[route jobs.created]\ncapacity = 0\n"
                   "dead_letter = nowhere\n")
    r = subprocess.run([str(odto.HOST), "--check", "-c", str(bad)], capture_output=True, text=True, env=h.environment())
    odto.equal(r.returncode, 78)
    for place in (":2:1: ", ":4:9: ", ":5:1: ", ":7:12: ", ":8:15: "):
        odto.contains(r.stderr, str(bad) + place)
    odto.contains(r.stderr, "5 errors")


@suite.test("stop ends the host in order")
def _(h):
    odto_json(h, "stop")
    odto.equal(h.process.wait(20 * odto.SLOW), 0)
    odto.check(not h.control.exists(), "the socket is gone")
    odto.equal(h.odto("status").returncode, 3)
    h.process = None
    h.start()


suite.main(host)
