#!/usr/bin/env python3
"""Every service is replaced again and again while HTTP load runs: nothing fails, nothing is lost or done twice, memory stays.
Terminal sessions outlive every reload of their broker, and no byte of their output is missing or comes twice.

ODTO_RELOADS=10000 tests/integration/reload_load.py     the full proof: 10,000 of the processor, 1,000 of each other service
ODTO_LOAD_RATE=2000                                     requests a second of each kind, jobs and statistics (1000)
"""
import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import fixture  # noqa: E402
import odto  # noqa: E402
from terminal import Binary  # noqa: E402

PTY = (odto.BUILD / ".libs" / "pty.so").exists()
COUNTER = """import sys, time
n = 0
while True:
    n += 1
    sys.stdout.write(f"{n}\\n")
    sys.stdout.flush()
    time.sleep(0.01)
"""
suite = odto.Suite()
RELOADS = int(os.environ.get("ODTO_RELOADS", "60"))
OTHERS = max(RELOADS // 10, 20)
RATE = int(os.environ.get("ODTO_LOAD_RATE", "1000" if not fixture.SANITIZED else "150"))
LOAD = odto.BUILD / "tests" / "bench" / "load"
MEMORY = 1024  # KiB that all reloads of one plugin may cost


class Load(threading.Thread):
    """The load generator, one run after the other until end(); every run must be without a flaw."""

    def __init__(self, host, kind):
        super().__init__(daemon=True)
        self.host, self.kind, self.done, self.flaws, self.stop = host, kind, 0, [], threading.Event()
        self.start()

    def command(self, n):
        where = ["--get", f"{self.host.read_model.url}/stats"] if self.kind == "stats" else ["-g", self.host.gateway.url, "-w", "0"]
        return [str(LOAD), "-r", self.host.read_model.url, *where, "-n", str(n), "-c", "8", "-R", str(RATE), "--json"]

    def run(self):
        n = RATE * 2
        while not self.stop.is_set():
            p = subprocess.run(self.command(n), capture_output=True, text=True)
            try:
                got = json.loads(p.stdout)
            except ValueError:
                got = {}
            if p.returncode or any(got.get(k, 1) for k in ("errors", "refused", "reconnects")):
                self.flaws.append(f"{p.returncode} {p.stdout} {p.stderr}")
            self.done += n

    def end(self):
        self.stop.set()
        self.join(120 * odto.SLOW)
        odto.check(self.done > 0, "there was load")
        odto.equal(self.flaws[:2], [], f"what the load generator ({self.kind}) saw")
        return self.done


class Terminal(threading.Thread):
    """A client of a session whose program counts. It reads, and comes back wherever the broker says that it starts anew."""

    def __init__(self, host):
        super().__init__(daemon=True)
        self.port, self.stop, self.flaws, self.returns = host.manifest.port("plugin pty"), threading.Event(), [], 0
        self.rest, self.number = b"", 0
        self.client = Binary(self.port).greeted()
        self.session = self.client.welcome["session"]
        self.start()

    def count(self):
        """The numbers that came since: each is one more than the last."""
        *lines, self.rest = (self.rest + self.client.data).split(b"\r\n")
        self.client.data = b""
        for line in lines:
            self.number += 1
            if line != b"%d" % self.number:
                self.flaws.append(f"{line} instead of {self.number}")
                self.number = int(line)

    def attach(self):
        last = self.client
        hello = {"session": self.session, "token": last.welcome["token"], "last_offset": last.offset or 0}
        while not self.stop.is_set():
            c = Binary(self.port, hello=hello)
            c.offset = last.offset
            if c.status == 101:
                while not c.welcome and c.next():
                    pass
            if c.welcome:
                if not c.welcome["resumed"] or c.welcome["session"] != self.session:
                    self.flaws.append(f"not the same session: {c.welcome}")
                self.client, self.returns = c, self.returns + 1
                return
            if c.status != 101 or c.closed != 1012:
                self.flaws.append(f"turned away: {c.status}, {c.closed}, {c.log}")

    def run(self):
        try:
            while not self.stop.is_set() and len(self.flaws) < 5:
                if self.client.next() is None:
                    if self.client.closed != 1012:
                        self.flaws.append(f"closed with {self.client.closed}")
                    self.attach()
                elif self.client.snapshot is not None:
                    self.flaws.append("a snapshot instead of what was missed")
                self.count()
        except Exception as e:  # noqa: BLE001 - any failure counts
            self.flaws.append(repr(e))

    def end(self, returns):
        """It was thrown off at least so often, and still counts."""
        odto.wait_until(lambda: self.flaws or self.returns >= returns, 30, "the client has come back")
        number = self.number
        odto.wait_until(lambda: self.flaws or self.number > number + 10, 30, "the program goes on")
        self.stop.set()
        self.join(30 * odto.SLOW)
        odto.equal(self.flaws[:3], [], "what the terminal's client saw")
        return self.number


def memory(host):
    status = pathlib.Path(f"/proc/{host.process.pid}/status").read_text()
    return int(next(x for x in status.splitlines() if x.startswith("VmRSS")).split()[1])


def settled(host):
    """Resident memory once the jobs at hand are done: what is in flight is not what reloads cost."""
    odto.wait_until(lambda: host.stats()["completedJobs"] == host.submitted, 60, "all jobs are counted", every=0.05)
    return memory(host)


class Reloads:
    def __init__(self, host, name, n):
        self.pauses, self.took, self.steps, self.began = [], [], {}, time.monotonic()
        for _ in range(n):
            done = host.odto("--json", "reload", name)
            odto.equal(done.returncode, 0, f"odto reload {name} ({done.stdout}{done.stderr})")
            for v in json.loads(done.stdout)["verdicts"]:
                odto.equal(v["action"], "reloaded", f"verdict {v}")
                self.pauses.append(v["pauseMs"])
                self.took.append(v["durationMs"])
                for step, ms in v["stepsMs"].items():
                    self.steps.setdefault(step, []).append(ms)
        self.seconds = time.monotonic() - self.began

    def report(self, name, grown):
        p, t = sorted(self.pauses), sorted(self.took)

        def at(values, part):
            return values[min(int(len(values) * part), len(values) - 1)]
        odto.diag(f"{name}: {len(p)} reloads in {self.seconds:.1f} s at {RATE}/s; pause p50 {at(p, .5):.2f} ms, p99 {at(p, .99):.2f} ms, "
                  f"longest {p[-1]:.2f} ms; whole reload p50 {at(t, .5):.2f} ms; resident memory {grown:+d} KiB")
        odto.diag("p50 and p99 of its steps, ms: " + ", ".join(
            f"{step} {at(sorted(ms), .5):.2f} {at(sorted(ms), .99):.2f}" for step, ms in self.steps.items()))


def run_round(host, name, n):
    """n reloads under load; how much resident memory they cost, in KiB."""
    before = settled(host)
    jobs, stats = Load(host, "jobs"), Load(host, "stats")
    try:
        made = Reloads(host, name, n)
    finally:
        done = jobs.end(), stats.end()
    host.submitted += done[0]
    grown = settled(host) - before
    made.report(name, grown)
    return grown


def under_load(host, name, n):
    run_round(host, name, max(n // 10, 10))  # caches, pools and arenas find their size
    grown = run_round(host, name, n)
    # a busy moment may have made a queue, and so a pool, larger than ever before; a leak grows every time
    for _ in range(3 if not fixture.SANITIZED else 0):
        if grown > MEMORY:
            grown = min(grown, run_round(host, name, n))
    odto.equal(host.stats()["totalJobs"], host.submitted, "jobs: none lost, none doubled")
    maps = pathlib.Path(f"/proc/{host.process.pid}/maps").read_text()
    if not fixture.SANITIZED:  # those keep every copy mapped
        odto.equal(len({x.split()[-1] for x in maps.splitlines() if f"/run/{name}." in x}), 1, "mapped copies")
        odto.check(grown <= MEMORY, f"resident memory grew by {grown} KiB in {n} reloads of {name}, each time")


def started():
    host = odto.Host({"host": {"canary": "0"}, "log": {"level": "warn"}})
    if PTY:
        counter = host.dir / "counter.py"
        counter.write_text(COUNTER)
        host.manifest["plugin pty"] = {"listen": f"127.0.0.1:{odto.free_port()}", "listen_http": f"127.0.0.1:{odto.free_port()}",
                                       "program": sys.executable, "arguments": str(counter)}
    host.submitted = 0
    return host


@suite.test(f"{RELOADS} reloads of the processor")
def _(host):
    under_load(host, "processor", RELOADS)


@suite.test(f"{OTHERS} reloads of the gateway")
def _(host):
    under_load(host, "gateway", OTHERS)


@suite.test(f"{OTHERS} reloads of the read model")
def _(host):
    under_load(host, "read-model", OTHERS)


@suite.test(f"{OTHERS} reloads of the metrics engine")
def _(host):
    under_load(host, "metrics", OTHERS)


if PTY:
    @suite.test(f"{OTHERS} reloads of the terminal broker with live sessions")
    def _(host):
        terminals = [Terminal(host) for _ in range(4)]
        under_load(host, "pty", OTHERS)
        lines = [t.end(OTHERS // 2) for t in terminals]
        odto.diag(f"4 sessions, {sum(t.returns for t in terminals)} times thrown off and back, {sum(lines)} lines, each once")


@suite.test("every job ran once and has one event")
def _(host):
    odto.equal(host.stop(), 0, "exit status of the host")
    found = list(host.data.rglob("*.db"))
    odto.equal(len(found), 1, "database files")
    db = sqlite3.connect(found[0])

    def one(query):
        return db.execute(query).fetchone()[0]
    odto.equal(one("SELECT count(*) FROM job"), host.submitted, "rows of jobs")
    odto.equal(one("SELECT count(*) FROM done WHERE status = 3 AND attempt = 1"), host.submitted, "jobs done with one attempt")
    odto.equal(one("SELECT count(*) FROM event"), host.submitted, "events")
    odto.equal(one("SELECT count(DISTINCT job_id) FROM event"), host.submitted, "jobs with an event")
    host.start()


suite.main(started)
