#!/usr/bin/env python3
"""Plugins with isolate = process: whatever one does, the rest goes on and every job ends exactly once."""
import json
import os
import pathlib
import re
import signal
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import fixture  # noqa: E402
import odto  # noqa: E402
from odto import check, contains, equal, wait_until  # noqa: E402

suite = odto.Suite()
CALM = {"restart_backoff": "20ms", "restart_intensity": "1000", "restart_window": "1s", "backoff": "20ms",
        "backoff_max": "50ms"}


def rogue(folder, name="rogue", blocking=False, **keys):
    """The section of a rogue handler, built into folder."""
    so = folder / f"{name}.so"
    if not so.exists():
        fixture.build(so, source="rogue", extra=["-DBLOCKING"] if blocking else [])
    return {f"handler {name}": {"module": str(so), "types": name, "timeout": "20s", "concurrency": "16", **CALM, **keys}}


class Host(odto.Host):
    """A host with a rogue handler that does not block and one that does, beside a trusted one."""

    def __init__(self, changes=None, **keys):
        super().__init__()
        self.manifest.update({**rogue(self.dir, **keys), **rogue(self.dir, "rough", True, **keys),
                              "host": {"canary": "100ms", "shutdown_timeout": "2s"},
                              "handler plain": {"module": "builtin", "types": "plain"}, **(changes or {})})

    def plugins(self):
        return {p["name"]: p for p in json.loads(self.odto("--json", "plugins").stdout)["plugins"]}

    def workers(self, name=None):
        """Process ids of this host's workers."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                status = pathlib.Path("/proc", pid, "status").read_text()
                argv = pathlib.Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if f"\nPPid:\t{self.process.pid}\n" in status and argv[0].endswith(b"/odto-worker"):
                if name is None or argv[1].decode() == name:
                    found.append(int(pid))
        return found

    def worker(self, name):
        return wait_until(lambda: self.workers(name), 10, f"a worker of {name}")[0]

    def children(self):
        children = pathlib.Path("/proc", str(self.process.pid), "task")
        return " ".join((t / "children").read_text() for t in children.iterdir()).split()

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def outcomes(self, type, what, **members):
        job = self.wait_job(self.submit(type=type, payload={"do": what}, **members), timeout=30)
        return job, [a["outcome"] for a in job["attempts"]]


class Load(threading.Thread):
    """Submits jobs without a pause; ids of those accepted."""

    def __init__(self, host, type, what="ok"):
        super().__init__(daemon=True)
        self.host, self.type, self.what, self.stop, self.ids, self.bad = host, type, what, threading.Event(), [], []
        self.start()

    def run(self):
        client, connection = self.host.gateway, self.host.gateway.keep()
        while not self.stop.is_set():
            r = client.request("POST", "/jobs", odto.job(type=self.type, payload={"do": self.what}),
                               connection=connection)
            (self.ids if r.status == 202 else self.bad).append(r.json.get("jobId"))
            time.sleep(0.004)  # the pace of the load

    def end(self):
        """All that was accepted has ended; outcomes of the last attempts."""
        wait_until(lambda: len(self.ids) > 20 or self.bad, 30, "there was load")
        self.stop.set()
        self.join(30)
        equal(self.bad[:3], [], "refused jobs")
        equal(len(set(self.ids)), len(self.ids))
        return [self.host.wait_job(i, timeout=30) for i in self.ids]


def completed_once(jobs):
    for job in jobs:
        equal(job["status"], "COMPLETED", f"status of {job}")
        equal([a["outcome"] for a in job["attempts"]].count("ok"), 1, "attempts that ended well")


@suite.test("a handler that is not shipped runs in a worker, unless the manifest trusts it")
def _(host):
    plugins = host.plugins()
    equal({n: plugins[n]["isolate"] for n in ("rogue", "rough", "plain", "processor")},
          {"rogue": "process", "rough": "process", "plain": "no", "processor": "no"})
    for type in ("rogue", "rough"):
        job, outcomes = host.outcomes(type, "progress")
        equal(outcomes, ["ok"])
        equal(job["result"]["pid"], host.worker(type))
        equal(host.outcomes(type, "refuse")[1], ["discarded"])


@suite.test("the worker is confined: descriptors, environment, privileges")
def _(host):
    proc = pathlib.Path("/proc", str(host.worker("rogue")))
    fds = {os.readlink(f) for f in (proc / "fd").iterdir()}
    check(all(f == "/dev/null" or f.startswith(("socket:", "pipe:")) for f in fds), f"descriptors: {fds}")
    check(len(list((proc / "fd").iterdir())) <= 4, "as few as it needs")
    contains((proc / "status").read_text(), "NoNewPrivs:\t1")
    equal((proc / "oom_score_adj").read_text().strip(), "500")
    names = {v.split(b"=")[0].decode() for v in (proc / "environ").read_bytes().split(b"\0") if v}
    check("ODTO_TEST_SECRET" not in names and "PATH" in names, f"environment: {names}")
    check("ODTO_TEST_SHOWN" in names, "isolate_environment")
    check(not fixture.SANITIZED or "LANG" or names, "sanitizers' options pass")
    contains((proc / "limits").read_text(), "Max core file size        0")
    equal(os.getsid(int(proc.name)), int(proc.name))


for how, text in (("crash", "signal 11"), ("heap", "signal"), ("exit", "exited with status 0")):
    @suite.test(f"{how}: the job is lost as often as allowed, then it fails; the rest goes on")
    def _(host, how=how, text=text):
        load = Load(host, "plain")
        for type in ("rogue", "rough"):
            before = host.processor.metrics()
            job, outcomes = host.outcomes(type, how)
            equal(job["status"], "FAILED")
            check(len(outcomes) > 1 and set(outcomes) <= {"lost", "poison"}, f"outcomes {outcomes}")
            contains(job["error"], text if not fixture.SANITIZED else "its worker process")
            equal(host.outcomes(type, "ok")[1], ["ok"])
            key = f'rogue_begun_total{{label="x"}}'
            check(host.processor.metrics().get(key, 0) - before.get(key, 0) >= 2, "attempts of dead workers are counted")
        completed_once(load.end())
        contains(host.log, "generation 1, copy SHA-256")


for what in ("spin", "block"):
    @suite.test(f"{what}: the worker is killed when an attempt outlasts its deadline; the rest goes on")
    def _(host, what=what):
        load = Load(host, "plain")
        for type in ("rogue", "rough"):
            job, outcomes = host.outcomes(type, what, options={"timeoutSeconds": 0.3, "maxAttempts": 1})
            equal((job["status"], outcomes), ("FAILED", ["timeout"]))
            contains(job["error"], "outlasted its deadline")
            equal(host.outcomes(type, "ok")[1], ["ok"])
        completed_once(load.end())


def others_work(host, n=200):
    """So many jobs of another plugin, given now, all end well."""
    ids = [host.submit(type="plain", payload={"do": "ok"}) for _ in range(n)]
    completed_once([host.wait_job(i, timeout=60) for i in ids])


for what in ("spin", "block"):
    @suite.test(f"{what} without a deadline: two workers are stuck while 200 jobs of another plugin end")
    def _(host, what=what):
        stuck = {type: host.submit(type=type, payload={"do": what + " first"}) for type in ("rogue", "rough")}
        for job in stuck.values():
            wait_until(lambda: (host.job(job) or {}).get("status") == "EXECUTING", 10, "it is stuck")
        workers = {type: host.worker(type) for type in stuck}
        others_work(host)
        for type, job in stuck.items():
            equal(host.job(job)["status"], "EXECUTING", f"status of the stuck job of {type}")
            equal(host.worker(type), workers[type], "worker")
            os.kill(workers[type], signal.SIGKILL)
            ended = host.wait_job(job, timeout=30)
            equal((ended["status"], [a["outcome"] for a in ended["attempts"]]), ("COMPLETED", ["lost", "ok"]))


@suite.test("heap: workers corrupt theirs and die over and over while 200 jobs of another plugin end")
def _(host):
    first = {type: host.plugins()[type]["generation"] for type in ("rogue", "rough")}
    done, sick = threading.Event(), []

    def sicken():
        while not done.is_set() or len(sick) < 4:
            for type in first:
                sick.append(host.submit(type=type, payload={"do": "heap"}))
                host.wait_job(sick[-1], timeout=30)
    crashing = threading.Thread(target=sicken, daemon=True)
    crashing.start()
    others_work(host)
    done.set()
    crashing.join(60 * odto.SLOW)
    for type, before in first.items():
        check(host.plugins()[type]["generation"] > before, f"the worker of {type} was started anew")
        equal(host.outcomes(type, "ok")[1], ["ok"])
    equal({host.job(i)["status"] for i in sick}, {"FAILED"}, "ends of the jobs that corrupt the heap")


@suite.test("leak: the worker is killed at isolate_memory")
def _(host):
    job, outcomes = host.outcomes("rogue", "leak")
    equal(job["status"], "FAILED")
    contains(job["error"], "isolate_memory")
    equal(host.outcomes("rogue", "ok")[1], ["ok"])


@suite.test("a job that crashed its worker once is done by the next one")
def _(host):
    job, outcomes = host.outcomes("rogue", "once")
    equal((job["status"], outcomes), ("COMPLETED", ["lost", "ok"]))


@suite.test("workers killed over and over under load: every accepted job ends exactly once, nothing is left")
def _(_host):
    patient = {"plugin processor": {"max_lost": "1000"}, "handler plain": {"module": "builtin", "types": "plain"}}
    with Host(patient, max_attempts="1000") as host:
        def loaded():
            return [Load(host, "rogue"), Load(host, "rough", "nap"), Load(host, "plain")]
        for load in loaded():  # what is opened at first use is open then: segments, readers of the store
            completed_once(load.end())
        fds, loads = host.descriptors(), loaded()

        def killed_often():
            for pid in host.workers():
                os.kill(pid, signal.SIGKILL)
            plugins = host.plugins()
            return plugins["rogue"]["generation"] > 10 and plugins["rough"]["generation"] > 10
        wait_until(killed_often, 60, "workers are started anew", every=0.05)
        for load in loads:
            completed_once(load.end())
        equal(host.plugins()["processor"]["generation"], 1, "generation of the processor")
        wait_until(lambda: len(host.workers()) == 2, 10, "two workers again")
        wait_until(lambda: len(host.children()) == 2, 10, "no zombie")
        wait_until(lambda: host.descriptors() <= fds + 2, 10, "no descriptor is left")


@suite.test("reloads under load lose nothing and pause nobody else")
def _(host):
    loads = [Load(host, "rogue"), Load(host, "rough", "nap"), Load(host, "plain")]
    for i in range(6):
        r = host.odto("--json", "reload", "rough" if i % 2 else "rogue")
        equal(r.returncode, 0, r.stdout + r.stderr)
    jobs = [j for load in loads for j in load.end()]
    completed_once(jobs)
    equal({a["outcome"] for j in jobs for a in j["attempts"]}, {"ok"}, "outcomes")
    equal(host.plugins()["processor"]["generation"], 1)


@suite.test("from worker to thread and back by a reload; the processor follows")
def _(host):
    for isolate, shown in (("thread", "no"), ("process", "process")):
        load = Load(host, "rogue", "ok")
        host.manifest["handler rogue"]["isolate"] = isolate
        host.write()
        r = host.odto("--json", "reload")
        equal(r.returncode, 0, r.stdout + r.stderr)
        equal(host.plugins()["rogue"]["isolate"], shown)
        completed_once(load.end())
        pid = host.outcomes("rogue", "ok")[0]["result"]["pid"]
        equal(pid == host.process.pid, isolate == "thread", "it runs in the host")


@suite.test("a bad copy is turned away, and its options are checked in a worker")
def _(host):
    host.manifest["handler rogue"]["greeting"] = "rude"
    host.write()
    r = host.odto("--json", "reload")
    check(r.returncode != 0, "refused")
    contains(r.stdout + r.stderr, "never that rude")
    contains(r.stdout + r.stderr, "odto.ini")
    host.manifest["handler rogue"]["greeting"] = "good day"
    host.write()
    equal(host.odto("--json", "reload").returncode, 0)
    equal(host.outcomes("rogue", "ok")[0]["result"]["greeting"], "good day")


@suite.test("jobs are told to stop when the host shuts down, and workers end with it")
def _(host):
    ids = [host.submit(type="rough", payload={"do": "wait"}) for _ in range(3)]
    wait_until(lambda: all((host.job(i) or {}).get("status") == "EXECUTING" for i in ids), 10, "they run")
    workers = host.workers()
    equal(host.stop(), 0)
    wait_until(lambda: not any(os.path.exists(f"/proc/{p}") for p in workers), 10, "no worker is left")
    host.start()
    workers = [host.worker("rogue"), host.worker("rough")]
    host.kill()
    wait_until(lambda: not any(os.path.exists(f"/proc/{p}") for p in workers), 10, "they end with a killed host")
    host.start()
    equal(host.outcomes("rogue", "ok")[1], ["ok"])


@suite.test("what can't run in a worker is refused, by name")
def _(host):
    for section, text in (("plugin processor", "names a store"), ("store main", "stores and bridges")):
        other = odto.Host({section: {"isolate": "process"}}, wait=False)
        try:
            other.start()
            check(other.process.wait(20) != 0, "it does not start")
            contains(other.log, text)
            contains(other.log, "isolate = thread")
            contains(other.log, "odto.ini:")
        finally:
            other.kill()
            other.cleanup()


def relay_manifest(folder):
    fixture.build(folder / "relay.so", source="relay")
    return odto.Manifest({
        "host": {"shutdown_timeout": "5s", "canary": "100ms"},
        "route relay.in": {"transport": "spool", "dead_letter": "relay.dead"},
        "route relay.out": {"transport": "memory", "overflow": "drop-oldest"},
        "route relay.dead": {"transport": "memory"},
        "plugin relay": {"module": str(folder / "relay.so"), "listen": f"127.0.0.1:{odto.free_port()}",
                         "isolate": "process", **{k: v for k, v in CALM.items() if k.startswith("restart")}},
    })


class Relay(Host):
    def __init__(self, **keys):
        odto.Host.__init__(self, manifest=odto.Manifest({}), wait=False)
        self.manifest = relay_manifest(self.dir)
        self.manifest["plugin relay"].update(keys)

    def __enter__(self):
        self.start()
        wait_until(lambda: self.ask().status == 200, 10, "the relay serves")
        return self

    def ask(self, path="/relay/x", **headers):
        try:
            return self.client("plugin relay").get(path, **headers)
        except OSError:
            return odto.Response(0, [], b"{}")

    def publish(self, n=1, body="x"):
        return self.client("plugin relay").post(f"/relay?n={n}", body)

    def route(self, topic):
        return {r["topic"]: r for r in json.loads(self.odto("--json", "routes").stdout)["routes"]}[topic]

    def relayed(self):
        return self.client("plugin relay").metrics().get("relay_relayed_total", 0)


@suite.test("a service in a worker: routes, timers, threads, metrics, descriptors, HTTP")
def _(_host):
    with Relay() as r:
        first = r.ask("/relay/a%20name?q=two+words", **{"X-Word": "words"}).json
        equal((first["name"], first["q"], first["method"]), ("a name", "two words", "GET"))
        equal(r.ask().header("X-Relay"), "yes")
        equal(first["pid"], r.worker("relay"))
        wait_until(lambda: r.ask().json["ticks"] > first["ticks"], 10, "timers run")
        wait_until(lambda: r.ask().json["beats"] > first["beats"], 10, "threads run")
        equal(r.publish(1000).status, 202)
        wait_until(lambda: r.relayed() == 1000, 10, "all are passed on")
        wait_until(lambda: r.route("relay.in")["depth"] == 0 and r.route("relay.in")["leased"] == 0, 10, "acknowledged")
        check(r.ask().json["out"] >= 1000, "route_stats")
        m = r.client("plugin relay").metrics()
        equal(m['relay_seconds_bucket{le="0.01"}'], 1000)
        check(m["relay_ticks"] % 1 == 0.5, "metric_fn")
        equal(r.ask("/slow").status, 200)
        equal(r.publish(1, "reject").status, 202)
        wait_until(lambda: r.route("relay.dead")["published"] == 1, 10, "rejected to the dead letters")
        equal(r.odto("reload", "relay").returncode, 0)
        contains(r.log, "another comes: yes")
        equal(r.stop(), 0)
        contains(r.log, "another comes: no")


@suite.test("a service's worker dies: leases go back and are delivered again, descriptors and counters stay")
def _(_host):
    with Relay() as r:
        wait_until(lambda: r.ask().json.get("kept") == "kept words", 10, "a descriptor was kept and taken")
        r.ask()  # kept again
        kept = r.ask().json
        if kept["kept"]:
            r.ask()
        before = r.worker("relay")
        equal(r.publish(100).status, 202)
        check(r.publish(1, "crash").status in (202, 503), "202, or the crash came before the answer")
        wait_until(lambda: r.workers("relay") and r.worker("relay") != before, 10, "a new worker")
        wait_until(lambda: r.ask().status == 200, 10, "it serves again")
        wait_until(lambda: r.route("relay.in")["depth"] == 0 and r.route("relay.in")["leased"] == 0, 10, "all are passed on")
        wait_until(lambda: r.relayed() >= 1, 10, "the new worker's figures are taken over")
        check(any(x.get("note") == "a note" for x in (r.ask().json, r.ask().json)), "the descriptor outlived it")


@suite.test("a call in a worker does not return: the log says where it is; in time the worker is killed and the event comes again")
def _(_host):
    # one that spins may get too little of a busy machine to look like it
    for what, how in (("spin", "(?:spins|is blocked)"), ("block", "is blocked")):
        with Relay(watchdog_soft="200ms", watchdog_hard=f"{2 * odto.SLOW}s") as r:
            before = r.worker("relay")
            check(r.publish(1, what).status in (202, 503), "202, or it was stuck before the answer")
            line = wait_until(lambda: re.search(f"relay: a call in its worker \\(pid {before}, thread .*the thread {how}; stack: (.*)", r.log),
                              20, "the log says so")
            check(re.search(r"relay\.\d+\.so\+0x", line[1]), f"the plugin is in the stack: {line[1]}")
            wait_until(lambda: r.workers("relay") and r.worker("relay") != before, 20, "a new worker")
            contains(r.log, "did not return within watchdog_hard")
            wait_until(lambda: r.ask().status == 200 and r.relayed() == 1, 20, "the event is passed on")


@suite.test("a service's worker is killed over and over: no event is lost")
def _(_host):
    with Relay() as r:
        sent = 0
        for _ in range(10):
            os.kill(r.worker("relay"), signal.SIGKILL)
            wait_until(lambda: r.ask().status == 200, 10, "it serves again")
            sent += 50 if r.publish(50).status == 202 else 0
        wait_until(lambda: r.route("relay.in")["depth"] == 0 and r.route("relay.in")["leased"] == 0, 10, "all are passed on")
        check(sent >= 400, "most were accepted")
        check(r.route("relay.in")["acked"] >= sent, "every accepted event was acknowledged")
        wait_until(lambda: len(r.children()) == 1, 10, "no zombie")


os.environ["LANG"] = "C.UTF-8"
shown = {"isolate_memory": "96m" if not fixture.SANITIZED else "1g", "isolate_grace": "200ms", "isolate_environment": "ODTO_TEST_SHOWN"}


class Main(Host):
    def __init__(self):
        super().__init__(**shown)
        self.env = {"ODTO_TEST_SECRET": "x", "ODTO_TEST_SHOWN": "y"}


suite.main(Main)
