#!/usr/bin/env python3
"""The real dashboard in a terminal emulator: pictures, keys, sizes, failures of the servers, ways out."""
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lib"), str(HERE.parent / "dashboard")]
import odto  # noqa: E402
from driver import BACKSPACE, DOWN, ENTER, ESC, PROGRAM, TAB, Tui  # noqa: E402
from fake_system import Fake, job_id  # noqa: E402

suite = odto.Suite()
odto.HOST = PROGRAM  # what must be built for this file


def tui(fake, *args, **more):
    env = {"GATEWAY_URL": fake.url, "READ_MODEL_URL": fake.url}
    env.update(more.pop("env", {}))
    return Tui("--no-splash", *args, env=env, **more)


def system(**more):
    class Closing:
        def __enter__(self):
            self.fake = Fake(**more)
            return self.fake

        def __exit__(self, *a):
            self.fake.close()
    return Closing()


def restored(s, code):
    odto.equal(s.exit, code, "exit status")
    odto.check(not s.alt, "the alternate screen is left")
    odto.check(s.cursor, "the cursor is visible")
    odto.check(s.canonical, "the terminal echoes and is canonical again")
    odto.equal(s.mouse, 0, "mouse mode")


# ---- pictures -----------------------------------------------------------------------------------

@suite.test("the dashboard shows figures, jobs, alerts, plugins and queues")
def _():
    with system(jobs=40) as fake, tui(fake) as t:
        parts = ("JobFailureRateHigh", "Statistics", "Completed", "Throughput", "1 Jobs", "40, following", "BACKOFF",
                 "jobs.created", "gateway", "read model", "N new", "Q quit", "COMPLETED", "EXECUTING")
        s = t.until(lambda s: all(p in s for p in parts), f"all of {parts}")
        odto.check(s.alt and not s.cursor, "alternate screen, no cursor")


@suite.test("every size works, also on the fly, and q leaves the smallest")
def _():
    with system() as fake, tui(fake) as t:
        t.shows("Throughput")
        t.resize(120, 40)
        t.until(lambda s: len(s.rows) == 40 and "4 Queues" in s.rows[27] + s.rows[26] + s.rows[28] and
                "Q quit" in s.rows[39], "120x40")
        t.resize(60, 16)
        t.until(lambda s: "Plugins 5/6 READY" in s and "Q quit" in s.rows[15], "60x16")
        t.resize(40, 10)
        t.shows("40x10 is too small")
        t.resize(1, 1)
        t.resize(200, 60)
        t.until(lambda s: "Q quit" in s.rows[59], "200x60")
        t.resize(30, 5)
        t.shows("q quits")
        t.keys("q")
        restored(t.ended(), 0)


@suite.test("without UTF-8 and without colour only ASCII and no colours are written")
def _():
    with system() as fake:
        with tui(fake, env={"LC_ALL": "C", "LANG": "C", "NO_COLOR": "1"}) as t:
            t.shows("+- Statistics")
            t.keys("?")
            t.shows("Keys work in both cases")
            t.keys("q")
            t.ended()
            raw = t.raw()
            odto.check(max(raw) < 0x80, "ASCII only")
            odto.check(not re.search(rb"\x1b\[([0-9]+;)*(3|4|9|10)[0-9](;[0-9]+)*m", raw), "no colour")


@suite.test("TERM=vt100, linux, dumb and an unknown one")
def _():
    with system() as fake:
        for term in ("vt100", "linux", "screen-256color", "tmux-256color", "dumb"):
            # libgpm, which ncurses loads on the Linux console, forgets ten bytes
            with tui(fake, env={"TERM": term, "ASAN_OPTIONS": "detect_leaks=0" if term == "linux" else ""}) as t:
                if term != "dumb":
                    t.shows("Statistics")
                else:
                    t.until(lambda s: s.bytes > 0, "some output")
                t.keys("q")
                odto.equal(t.ended().exit, 0, "exit with TERM=" + term)
        with tui(fake, env={"TERM": "no-such-terminal"}) as t:
            s = t.ended()
            odto.equal(s.exit, 1)
            odto.contains(s.text, "no-such-terminal")


# ---- use ----------------------------------------------------------------------------------------

@suite.test("a new task is validated, submitted and its id shown")
def _():
    with system() as fake, tui(fake) as t:
        t.shows("Throughput")
        t.keys("n")
        t.shows("New task")
        t.keys("bad type")
        t.shows("only letters")
        t.keys("\x15", "echo", TAB, BACKSPACE, '"n": 1', "}")
        t.shows("valid")
        t.keys(ENTER)
        t.shows("✓ accepted")
        odto.equal(len(fake.posted), 1)
        job = fake.posted[0]
        odto.equal((job["type"], job["status"], job["payload"]), ("echo", "PENDING", {"n": 1}))
        t.shows(job["id"])
        t.keys(ENTER)
        t.hides("New task")


@suite.test("errors of a submission are told apart; a repeat sends the same id")
def _():
    with system() as fake, tui(fake) as t:
        t.shows("Throughput")
        fake.fail["/jobs"] = 400
        t.keys("n", "echo", ENTER)
        t.shows("HTTP 400: not ready: /x because")
        fake.fail["/jobs"] = "hang"
        t.keys(ENTER)
        t.shows("sending")
        t.shows("timeout: no answer within 2 s")
        fake.fail.clear()
        t.keys(ENTER)
        t.shows("✓ accepted")
        odto.equal(len(fake.posted), 1)
    with system() as fake, tui(fake) as t:
        t.shows("Throughput")
        fake.close()
        t.keys("n", "echo", ENTER)
        t.until(lambda s: "cannot connect" in s or "was cut" in s, "why it could not be sent")
        t.keys(ENTER)
        t.shows("cannot connect")


@suite.test("a job opens with its attempts and events, without the control characters of its payload")
def _():
    with system(jobs=12) as fake, tui(fake, size=(100, 50)) as t:
        t.shows("Throughput")
        t.keys(DOWN, ENTER)
        for part in (job_id(10), "Attempts 2", "connection refused by smtp", "job.created", "#1 error", "job.executed", '"payload"', "[31mred"):
            t.shows(part)  # a frame comes in pieces
        odto.check(b"\x1b[31mred" not in t.raw(), "the payload's escape sequence is not written")
        t.keys("c")
        t.shows("sent to the terminal")
        odto.check(b"\x1b]52;c;" in t.raw(), "OSC 52")
        t.keys(ESC)
        t.hides("Attempts")


@suite.test("hostile text steers nothing")
def _():
    class Hostile(Fake):
        def job(self, i):
            j = super().job(i)
            j["type"] = "\x1b]0;owned\x07\x1b[2J\x9b5m\u202eevil"
            j["status"] = "\x1b[?1049l"
            return j
    fake = Hostile(jobs=5)
    with tui(fake) as t:
        s = t.shows("]0;owned")
        odto.check(not s.title, "the title is not set")
        odto.check(s.alt, "the alternate screen stays")
        t.shows("Statistics")
    fake.close()


@suite.test("filter, sort, zoom, palette, help, pages")
def _():
    with system(jobs=40) as fake, tui(fake) as t:
        t.shows("Throughput")
        t.keys("/", "status:failed")
        t.shows("match")
        t.keys(ENTER)
        t.until(lambda s: "FAILED" in s and "EXECUTING" not in s, "only failed jobs")
        t.keys(ESC)
        t.shows("EXECUTING")
        t.keys("s")
        t.shows("STATUS↓")
        t.keys("z")
        t.hides("Throughput")
        t.keys("z", "?")
        t.shows("Keys work in both cases")
        t.keys(ESC)
        t.hides("Keys work")
        t.keys(":", "alerts", ENTER)
        t.keys(ENTER)
        t.shows("metrics does not answer")
        t.keys(ESC, "U")
        t.shows("Read Model API Docs")
        t.keys(DOWN, ENTER)
        t.shows("URL  http://localhost:3000/docs")


@suite.test("a paste goes into the field and only there")
def _():
    with system() as fake, tui(fake) as t:
        t.shows("Throughput")
        t.keys("\x1b[200~nq\x1b[201~")
        t.keys("n")
        t.shows("New task")
        t.keys("\x1b[200~pasted-type\x1b[201~")
        t.shows("pasted-type")


@suite.test("read-only: nothing that changes the system")
def _():
    for more in ({"args": ["--read-only"]}, {"env": {"ODD_DASHBOARD_READ_ONLY": "1"}}):
        with system() as fake, tui(fake, *more.get("args", []), env=more.get("env", {})) as t:
            t.shows("READ-ONLY")
            t.keys("n")
            t.shows("read-only: new task")
            t.keys("l")
            t.shows("read-only: start")
            odto.equal(fake.posted, [])


# ---- failures -----------------------------------------------------------------------------------

@suite.test("servers that fail are shown with the age of the data, and recover")
def _():
    with system() as fake, tui(fake) as t:
        t.shows("JobFailureRateHigh")
        fake.fail["*"] = 503
        t.shows("read model away")
        t.shows("s old")
        t.shows("Unavailable, attempt 3")
        t.shows("EXECUTING")  # the jobs that were known
        fake.fail.clear()
        t.until(lambda s: "away" not in s and " old" not in s, "recovery")


@suite.test("a job that can't be had anew stays, with the reason and its age")
def _():
    with system(jobs=12) as fake, tui(fake, size=(100, 50)) as t:
        t.shows("Throughput")
        t.keys(DOWN, ENTER)
        t.shows("connection refused by smtp")
        for path in ("/jobs/" + job_id(10), "/events"):
            fake.fail[path] = 503
        t.shows("what stands here is")
        for part in ("HTTP 503", "s old", "connection refused by smtp", "job.created", '"payload"'):
            t.shows(part)
        fake.fail.clear()
        t.hides("what stands here is")
        t.shows("connection refused by smtp")


@suite.test("alerts of Prometheus stand in for those of an Alertmanager that is away")
def _():
    with system() as fake:
        fake.fail["/proxy/alerts"] = 502
        with tui(fake, env={"PROMETHEUS_URL": fake.url}) as t:
            t.shows("JobFailureRateHigh")
            rounds = fake.hits["/proxy/alerts"]
            odto.wait_until(lambda: fake.hits["/proxy/alerts"] >= rounds + 3, 20, "three rounds")
            odto.check("Unavailable" not in t.screen().text and "failed" not in t.screen().text.split("Alerts")[1][:200], t.screen().text)
            fake.fail["/api/v1/alerts"] = 502
            t.shows("Unavailable, attempt 3")


@suite.test("more jobs than the read model gives at once: those that it gives")
def _():
    with system(jobs=600) as fake:
        fake.most = 500
        with tui(fake, "--jobs", "10000") as t:
            t.shows("500, following")
            odto.equal(fake.hits.get("/jobs/recent"), None, "the older route is not asked")


@suite.test("alerts alone away: attempts are counted, the rest goes on")
def _():
    with system() as fake:
        fake.fail["/proxy/alerts"] = 502
        with tui(fake) as t:
            t.shows("attempt 1 failed")
            s = t.shows("Unavailable, attempt 3")
            odto.check("away" not in s.text, "gateway and read model are there")
            fake.alerts = []
            fake.fail.clear()
            t.shows("✓ No active alerts")


@suite.test("garbage, cut connections and hanging servers do not hold up the keys")
def _():
    with system() as fake, tui(fake) as t:
        t.shows("Throughput")
        for how in ("garbage", "close", "hang"):
            fake.fail["*"] = how
            t.shows("s old")
            began = time.monotonic()
            t.keys("?")
            t.shows("Keys work in both cases")
            t.keys(ESC)
            t.hides("Keys work")
            odto.check(time.monotonic() - began < 1.5 * odto.SLOW, f"keys answer while servers {how}")
            fake.fail.clear()
            t.until(lambda s: "away" not in s and " old" not in s, "recovery from " + how)


@suite.test("q leaves at once while every request hangs")
def _():
    with system() as fake, tui(fake) as t:
        t.shows("Throughput")
        fake.fail["*"] = "hang"
        t.shows("s old")
        began = time.monotonic()
        t.keys("q")
        restored(t.ended(), 0)
        odto.check(time.monotonic() - began < 1 * odto.SLOW, "less than a second")


# ---- ways out -----------------------------------------------------------------------------------

@suite.test("q, Q, Ctrl+C, SIGTERM, SIGHUP and SIGINT give the terminal back")
def _():
    with system() as fake:
        for key in ("q", "Q", "\x03"):
            with tui(fake) as t:
                t.shows("Throughput")
                t.keys(key)
                restored(t.ended(), 0)
        for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGALRM):
            with tui(fake) as t:
                t.shows("Throughput")
                t.signal(n)
                restored(t.ended(), 0)


@suite.test("a crash gives the terminal back and keeps its signal")
def _():
    with system() as fake:
        for n in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS):
            with tui(fake) as t:
                t.shows("Throughput")
                t.signal(n)
                restored(t.ended(), -int(n))


# ---- launcher and prerequisites -----------------------------------------------------------------

def launch_env(state, port):
    """A stand-in for odto-host: the fake system on a fixed port."""
    host = state / "odto-host"
    host.write_text(f"#!/bin/sh\nexec {sys.executable} {HERE.parent / 'dashboard' / 'fake_system.py'} "
                    f"--port {port} --forever\n")
    host.chmod(0o755)
    manifest = state / "odto.ini"
    manifest.write_text("[host]\n")
    url = f"http://127.0.0.1:{port}"
    return {"ODTO_HOST_PROGRAM": str(host), "ODTO_MANIFEST": str(manifest), "GATEWAY_URL": url, "READ_MODEL_URL": url}


def with_state(fn):
    state = pathlib.Path(tempfile.mkdtemp(prefix="odto-launch-"))
    try:
        fn(state)
    finally:
        shutil.rmtree(state, ignore_errors=True)


@suite.test("nothing runs: L starts a local host, its steps are shown, Ctrl+Q stops it again")
def _():
    def run(state):
        env = launch_env(state, odto.free_port())
        with Tui("--no-splash", env=env) as t:
            t.shows("Nothing is running here")
            t.keys("L")
            t.until(lambda s: "Throughput" in s and "COMPLETED" in s, "the dashboard of what was launched", 20)
            pid = json.loads((t.dir / "state" / "odto-launch" / "local.json").read_text())["processes"][0]["pid"]
            os.kill(pid, 0)
            t.keys("\x11")
            t.shows("Shut down?")
            t.keys("y")
            odto.equal(t.ended(30).exit, 0)

            def gone():
                try:
                    return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
                except OSError:
                    return True
            odto.wait_until(gone, 10, "the end of the host")
    with_state(run)


@suite.test("a launch that fails names the step, a remedy and the log")
def _():
    def run(state):
        env = launch_env(state, odto.free_port())
        pathlib.Path(env["ODTO_HOST_PROGRAM"]).write_text("#!/bin/sh\necho 'manifest line 3: no such key'\nexit 78\n")
        with Tui("--no-splash", env=env, size=(100, 40)) as t:
            t.shows("Nothing is running here")
            t.keys("l")
            t.shows("Remedy")
            t.shows("local host  failed")
            for part in ("pods", "error", "the host ended", "manifest line 3: no such key", "failed"):
                t.shows(part)
    with_state(run)


@suite.test("launch writes JSON progress lines; stop ends exactly what was started")
def _():
    def run(state):
        env = dict(os.environ, XDG_STATE_HOME=str(state / "s"), **launch_env(state, odto.free_port()))
        out = subprocess.run([PROGRAM, "launch", "--json", "local"], env=env, capture_output=True, text=True, timeout=60)
        odto.equal(out.returncode, 0, out.stdout)
        lines = [json.loads(x) for x in out.stdout.splitlines()]
        steps = [x["step"] for x in lines if "step" in x]
        odto.equal(list(dict.fromkeys(steps)),
                   ["prereqs", "cluster", "images", "load", "deploy", "pods", "ports", "verify", "ready"])
        odto.equal({x["status"] for x in lines if "step" in x} - {"starting", "complete", "error", "skipped", "warning"},
                   set())
        odto.equal(lines[-1]["urls"]["gateway"], env["GATEWAY_URL"])
        pid = lines[-1]["pid"]
        again = subprocess.run([PROGRAM, "launch", "local"], env=env, capture_output=True, text=True, timeout=60)
        odto.contains(again.stdout, "already")
        stop = subprocess.run([PROGRAM, "stop"], env=env, capture_output=True, text=True, timeout=60)
        odto.equal(stop.returncode, 0, stop.stdout)
        odto.check(not pathlib.Path(f"/proc/{pid}").exists() or
                   " Z " in pathlib.Path(f"/proc/{pid}/stat").read_text(), "the host is gone")
        stop = subprocess.run([PROGRAM, "stop"], env=env, capture_output=True, text=True, timeout=60)
        odto.contains(stop.stdout, "nothing was started")
    with_state(run)


CLUSTER_TOOL = """#!/bin/sh
echo "$(basename $0) $*" >> {log}
case "$(basename $0) $*" in
  "kind get clusters") [ -e {fail}-kind ] && exit 1; cat {clusters} ;;
  "kind create cluster"*) echo odto >> {clusters} ;;
  "kind delete cluster"*) : > {clusters} ;;
  *"apply -k "*) [ -s "$5/secrets.env" ] || {{ echo "no such file: secrets.env"; exit 1; }} ;;
  *" port-forward service/"*) for last; do :; done
    [ -e {fail}-$6 ] && echo "unable to listen" && exit 1
    exec {python} {fake} --port "${{last%:*}}" --forever ;;
  "docker build"*) [ -e {fail} ] && echo "COPY failed" && exit 1; echo building ;;
esac
exit 0
"""


class ClusterTools:
    """kind, kubectl and docker that write down how they are called, and a copy of the tree's k8s folder."""

    def __init__(self, state):
        self.log, self.fail, self.clusters, source = state / "log", state / "fail", state / "clusters", state / "src"
        self.ports, self.state = [odto.free_port() for _ in range(3)], state / "s" / "odto-launch"
        self.clusters.touch()
        self.log.touch()
        (state / "bin").mkdir()
        source.mkdir()
        (source / "Dockerfile").write_text("FROM scratch\n")
        shutil.copytree(odto.SRC / "k8s", source / "k8s", ignore=shutil.ignore_patterns("secrets.env"))
        for folder in (source / "k8s").rglob("local"):  # a tree to build from may be read-only
            folder.chmod(0o755)
        for tool in ("docker", "kind", "kubectl"):
            p = state / "bin" / tool
            p.write_text(CLUSTER_TOOL.format(log=self.log, python=sys.executable, fail=self.fail, clusters=self.clusters,
                                             fake=HERE.parent / "dashboard" / "fake_system.py"))
            p.chmod(0o755)
        self.secrets = source / "k8s" / "overlays" / "local" / "secrets.env"
        gateway, read, page = self.ports
        self.source = source
        self.env = dict(os.environ, PATH=f"{state / 'bin'}:{os.environ['PATH']}", ODTO_SRCDIR=str(source), WEB_PORT=str(page),
                        XDG_STATE_HOME=str(state / "s"), GATEWAY_URL=f"http://127.0.0.1:{gateway}",
                        READ_MODEL_URL=f"http://127.0.0.1:{read}")

    def launch(self, kind="cluster", cwd=None, **env):
        out = subprocess.run([pathlib.Path(PROGRAM).resolve(), "launch", "--json", kind], env={**self.env, **env}, cwd=cwd,
                             capture_output=True, text=True, timeout=90)
        lines = [json.loads(x) for x in out.stdout.splitlines()]
        return out.returncode, lines, [x for x in lines if "step" in x][-1]

    def stop(self):
        out = subprocess.run([PROGRAM, "stop"], env=self.env, capture_output=True, text=True, timeout=60)
        odto.equal(out.returncode, 0, out.stdout)
        return out.stdout

    def forwards(self):
        return [p for p in self.ports if listens(p)]


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


@suite.test("the cluster launcher runs the tools in order, on the overlay's namespace, and reports a failing one")
def _():
    def run(state):
        k = ClusterTools(state)
        k.fail.touch()
        code, lines, last = k.launch()
        odto.equal((code, last["step"], last["status"]), (1, "images", "error"))
        odto.check(last["remedy"], "a remedy")
        odto.check(any("COPY failed" in x.get("log", "") for x in lines), lines)
        k.stop()
        odto.contains(k.log.read_text(), "kind delete cluster --name odto", "what was made before the failure is removed")
        k.fail.unlink()
        k.log.write_text("")
        code, lines, _last = k.launch()
        odto.equal(code, 0, lines)
        calls = k.log.read_text()
        order = ["kind get clusters", "kind create cluster --name odto", "docker build", "kind load docker-image", "apply -k",
                 "wait --for=condition=Available", "port-forward"]
        at = [calls.find(x) for x in order]
        odto.check(min(at) >= 0 and at == sorted(at), f"order of calls: {calls}")
        space = re.search(r"^namespace: (\S+)", (odto.SRC / "k8s/overlays/local/kustomization.yaml").read_text(), re.M)[1]
        odto.equal(set(re.findall(r" -n (\S+)", calls)), {space}, "namespaces")
        odto.equal(len(k.forwards()), 3, "forwards")
        secret = dict(x.split("=") for x in k.secrets.read_text().split())["pty-auth-token"]
        odto.check(any("secrets.env" in x.get("message", "") for x in lines), "it is told where the token is")
        odto.check(secret not in json.dumps(lines) + calls, "the token itself is shown nowhere")
        k.launch()
        odto.equal(len(k.forwards()), 3, "forwards after another launch")
        k.stop()
        odto.equal((k.forwards(), k.clusters.read_text()), ([], ""), "what is left")
    with_state(run)


@suite.test("the cluster launcher: what others made stays; a port that is taken or a forward that fails is told, and none is left")
def _():
    def run(state):
        k = ClusterTools(state)
        k.clusters.write_text("odto\n")
        with socket.create_server(("127.0.0.1", k.ports[1])):
            code, _lines, last = k.launch()
            odto.equal((code, last["step"]), (1, "prereqs"))
            odto.contains(last["message"], f"port {k.ports[1]} is in use")
        odto.equal((k.forwards(), k.log.read_text()), ([], ""), "forwards and calls")
        broken = state / "fail-service" / "web-ui-http"
        broken.parent.mkdir()
        broken.touch()
        code, _lines, last = k.launch()
        odto.equal((code, last["step"]), (1, "ports"))
        odto.contains(last["message"], "web-ui-http")
        odto.equal(k.forwards(), [], "forwards")
        k.stop()
        odto.check("delete" not in k.log.read_text(), "a cluster that was there stays")
        (state / "fail-kind").touch()
        code, _lines, last = k.launch()
        odto.equal((code, last["step"]), (1, "cluster"))
        odto.contains(k.stop(), "nothing was started")
        calls = k.log.read_text()
        odto.check("create" not in calls and "delete" not in calls, "nor is one that kind could not tell of made or removed")
    with_state(run)


@suite.test("the cluster launcher beside a local host: its ports are not taken for the cluster's, stop ends both")
def _():
    def run(state):
        k = ClusterTools(state)
        local = launch_env(state, k.ports[0])
        odto.equal(k.launch("local", **local)[0], 0)
        code, _lines, last = k.launch()
        odto.equal((code, last["step"], last["status"]), (1, "prereqs", "error"))
        odto.contains(last["message"], f"port {k.ports[0]} is in use")
        odto.contains(last["remedy"], "odto-dashboard stop")
        odto.equal((k.forwards(), k.log.read_text()), ([k.ports[0]], ""), "the local host stays, no tool is called")
        other = odto.free_port()
        code, lines, _last = k.launch(GATEWAY_URL=f"http://127.0.0.1:{other}")
        odto.equal(code, 0, lines)
        odto.equal(sorted(x.name for x in k.state.glob("*.json")), ["cluster.json", "local.json"], "what is remembered")
        k.stop()
        odto.equal((k.forwards(), listens(other), k.clusters.read_text()), ([], False, ""), "what is left")
    with_state(run)


@suite.test("the cluster launcher: the current folder, one tree for all; passwords that can't be made are told with a remedy")
def _():
    def run(state):
        k = ClusterTools(state)
        code, _lines, last = k.launch(ODTO_SRCDIR=str(state))
        odto.equal((code, last["step"], k.log.read_text()), (1, "prereqs", ""))
        odto.contains(last["remedy"], "in the source folder")
        script = (k.source / "k8s" / "secrets").rename(state / "secrets")
        code, _lines, last = k.launch(cwd=k.source, ODTO_SRCDIR="")
        odto.equal((code, last["step"]), (1, "deploy"))
        odto.contains(last["message"], str(k.secrets))
        odto.contains(last["remedy"], "k8s/secrets")
        odto.check("apply" not in k.log.read_text(), "nothing is applied without passwords")
        script.rename(k.source / "k8s" / "secrets")
        code, lines, last = k.launch(cwd=k.source, ODTO_SRCDIR="")
        odto.equal(code, 0, lines)
        odto.equal(last["urls"]["web"], f"http://localhost:{k.ports[2]}")
        odto.contains(k.log.read_text(), f"apply -k {k.secrets.parent}")
        k.stop()
        odto.equal((k.forwards(), k.clusters.read_text()), ([], ""), "what is left")
    with_state(run)


@suite.test("prerequisites: the doctor's lines, an install command to copy, Esc goes back")
def _():
    with system() as fake, tui(fake, size=(110, 40), env={"REDIS_URL": "127.0.0.1:1"}) as t:
        t.shows("Throughput")
        t.keys("p")
        t.shows("nothing listens on 127.0.0.1:1")
        for part in ("Something that is needed is missing", "[FAIL]", "durability"):
            t.shows(part)
        t.keys(ESC)
        t.shows("Throughput")


@suite.test("server mode: no launcher, no prerequisites")
def _():
    with Tui("--no-splash", env={"ODD_DASHBOARD_SERVER_MODE": "true", "GATEWAY_URL": "http://127.0.0.1:1",
                                 "READ_MODEL_URL": "http://127.0.0.1:1"}) as t:
        t.shows("cannot connect")
        t.keys("l")
        t.shows("the launcher is off")
        t.keys("p")
        t.shows("not checked in server mode")


# ---- without a screen ---------------------------------------------------------------------------

def run(*args, **env):
    return subprocess.run([str(PROGRAM), *args], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                          env=dict(os.environ, LC_ALL="C.UTF-8", TZ="UTC", **env))


@suite.test("--version, --help, wrong usage and their exit codes")
def _():
    out = run("--version")
    odto.equal(out.returncode, 0)
    lines = out.stdout.splitlines()
    odto.matches(lines[0], r"^odto-dashboard \d+\.\d+\.\d+")
    odto.equal([x.split(":")[0] for x in lines[1:]], ["commit", "built", "compiler", "os", "arch"])
    odto.equal(run("-V").stdout, out.stdout)
    odto.equal(run("-h").returncode, 0)
    odto.contains(run("--help").stdout, "doctor")
    for args, code in ((["--nonsense"], 1), (["nonsense"], 1), (["doctor", "--nonsense"], 2), (["launch", "mars"], 2),
                       (["--theme", "pink"], 1), (["--interval", "0"], 1)):
        out = run(*args)
        odto.equal(out.returncode, code, str(args))
        odto.check(out.stderr, "a hint on stderr")
    out = run(GATEWAY_URL="http://127.0.0.1:1")
    odto.equal(out.returncode, 1)
    odto.contains(out.stderr, "--plain")


@suite.test("--once, --once --json and --plain")
def _():
    with system(jobs=12) as fake:
        env = {"GATEWAY_URL": fake.url, "READ_MODEL_URL": fake.url}
        out = run("--once", COLUMNS="80", LINES="24", **env)
        odto.equal(out.returncode, 0)
        odto.equal(len(out.stdout.splitlines()), 24)
        odto.contains(out.stdout, "Statistics")
        doc = json.loads(run("--once", "--json", **env).stdout)
        odto.equal(doc["stats"]["total"], 12)
        odto.equal(len(doc["jobs"]), 12)
        odto.equal(doc["alerts"][0], {"name": "ServiceDown", "service": "metrics", "severity": "critical", "state": "firing"})
        odto.equal([p["state"] for p in doc["plugins"] if p["name"] == "metrics"], ["BACKOFF"])
        odto.check(all(s["ok"] for s in doc["sources"].values()), "all sources answer")
        out = run("--once", "--svg", "--theme", "light", COLUMNS="80", LINES="24", **env)
        odto.equal(out.returncode, 0)
        texts = [e.text for e in xml.etree.ElementTree.fromstring(out.stdout).iter("{http://www.w3.org/2000/svg}text")]
        odto.check("Statistics" in texts and "odto" in texts, f"an SVG picture with its texts: {texts[:20]}")
        p = subprocess.Popen([PROGRAM, "--plain"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                             env=dict(os.environ, LC_ALL="C.UTF-8", **env))
        os.set_blocking(p.stdout.fileno(), False)
        seen = ""

        def says(text):
            nonlocal seen
            seen += (p.stdout.read() or b"").decode(errors="replace")
            return text in seen

        try:
            odto.wait_until(lambda: says("plugin metrics BACKOFF"), 20, "the plugin's line")
            odto.wait_until(lambda: says("alert ServiceDown [metrics] critical firing"), 20, "the alert's line")
            fake.alerts = []
            odto.wait_until(lambda: says("alert ServiceDown [metrics] resolved"), 20, "its end")
        except odto.Failed:
            odto.diag(seen)
            raise
        finally:
            p.terminate()
        odto.equal(p.wait(10), 0)
        odto.check("\x1b" not in seen, "no escape sequences")
    out = run("--once", "--json", **{"GATEWAY_URL": "http://127.0.0.1:1", "READ_MODEL_URL": "http://127.0.0.1:1"})
    odto.equal(out.returncode, 1)
    odto.contains(json.loads(out.stdout)["sources"]["gateway"]["error"], "cannot connect")


@suite.test("doctor: lines, JSON, exit codes")
def _():
    def go(state):
        (state / "odto-host").write_text("#!/bin/sh\necho odto-host 9.9.9\n")
        (state / "odto-host").chmod(0o755)
        (state / "odto.ini").write_text("[host]\ndata_dir = %s/data\n" % state)
        env = {"PATH": f"{state}:{os.environ['PATH']}", "ODTO_MANIFEST": str(state / "odto.ini")}
        for name in ("RABBITMQ_URL", "POSTGRES_URL", "REDIS_URL", "MONGO_URL", "GATEWAY_URL", "READ_MODEL_URL",
                     "PROMETHEUS_URL", "ALERTMANAGER_URL"):
            env[name] = ""
        out = run("doctor", **env)
        odto.matches(out.stdout, r"(?m)^\[OK\] +odto-host")
        odto.contains(out.stdout, f"{state}/data (will be made)")
        ports_free = "in use by" not in out.stdout
        if ports_free:
            odto.equal(out.returncode, 0, out.stdout)
        out = run("doctor", "--json", **dict(env, AMQP="", RABBITMQ_URL="amqp://user:hunter2@127.0.0.1:1/"))
        odto.equal(out.returncode, 1)
        odto.check("hunter2" not in out.stdout + out.stderr, "no password")
        rows = {r["name"]: r for r in map(json.loads, out.stdout.splitlines())}
        odto.equal(rows["RabbitMQ"]["verdict"], "FAIL")
        odto.contains(rows["RabbitMQ"]["detail"], "nothing listens on 127.0.0.1:1")
    with_state(go)


# ---- rest and unrest ----------------------------------------------------------------------------

@suite.test("at rest it uses no CPU and writes nothing")
def _():
    with system() as fake, tui(fake, "--interval", "3600") as t:
        t.shows("BACKOFF")
        quiet = [0]

        def settled():
            b = t.screen().bytes
            same = b == quiet[0]
            quiet[0] = b
            return same
        odto.wait_until(settled, 5, "silence", every=0.3)
        before, cpu = t.screen().bytes, t.cpu()
        time.sleep(2)  # the measured span itself
        odto.equal(t.screen().bytes, before, "bytes written")
        odto.check(t.cpu() - cpu <= 1, f"CPU ticks in 2 s: {t.cpu() - cpu}")


@suite.test("random keys and sizes never kill it")
def _():
    seed = int(os.environ.get("ODTO_TEST_SEED", "7"))
    rnd = random.Random(seed)
    keys = list("abcdefghijklmnoprstuvwxyz/?:[]{}\"1234 ") + [ENTER, ESC, TAB, BACKSPACE, DOWN, "\x1b[A", "\x1b[5~",
                                                              "\x1b[6~", "\x1b[H", "\x1b[F", "\x1b[Z", "\x0c",
                                                              "\x1b[<0;10;12M", "\x1b[<64;10;12M", "日"]
    with system(jobs=300, live=True) as fake:
        # server mode: no program of this machine is started by chance
        with tui(fake, env={"ODD_DASHBOARD_SERVER_MODE": "1"}) as t:
            t.shows("Throughput")
            for i in range(1500):
                t.keys(rnd.choice(keys))
                if i % 50 == 0:
                    t.resize(rnd.randint(1, 160), rnd.randint(1, 60))
                if i % 300 == 0:
                    fake.fail = rnd.choice([{}, {"*": 500}, {"/stats": "garbage"}, {"*": "close"}])
                s = t.screen() if i % 25 == 0 else None
                odto.check(not s or s.exit is None, f"alive after {i} keys (seed {seed})")
            t.resize(80, 24)
            t.keys("\x03")
            restored(t.ended(), 0)


suite.main()
