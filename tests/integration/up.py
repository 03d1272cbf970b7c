#!/usr/bin/env python3
"""Manifests per role, and tools/up: servers and one host per role, the gate against them, and nothing left behind."""
import os
import pathlib
import re
import signal
import subprocess
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import shutil
import tempfile

import mongo
import odto
import postgres
import prometheus
import rabbitmq
import terminal
from odto import check, contains, equal, wait_until

suite = odto.Suite()
PROGRAM = [sys.executable, str(odto.SRC / "tools" / "up.d" / "up.py")]
MODULES = {"gateway": ("rabbitmq",), "processor": ("rabbitmq", "postgres"), "metrics": ("rabbitmq", "redis", "mongo"),
           "read-model": ("postgres", "redis", "mongo"), "web": ("web",), "pty": ("pty",)}


def environment(**more):
    keep = {k: v for k, v in os.environ.items() if not k.endswith("_URL")}
    return {**keep, "ODTO_SRCDIR": str(odto.SRC), "ODTO_BUILDDIR": str(odto.BUILD), **more}


def need_servers():
    postgres.need()
    rabbitmq.need()
    if not shutil.which("redis-server"):
        raise odto.Skip("redis-server is not installed (Debian: redis-server)")
    mongo.choose()
    missing = [m for ms in MODULES.values() for m in ms if m not in ("web", "pty") and
               not (odto.BUILD / ".libs" / f"{m}.so").exists()]
    if missing:
        raise odto.Skip(f"not built: {', '.join(missing)}")


def processes_of(folder):
    """Command lines that name the folder."""
    found = []
    for p in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            line = (p / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line and int(p.name) != os.getpid():
            found.append(line)
    return found


@suite.test("every manifest in etc/ passes --check, with and without the contract's variables")
def _():
    urls = {"RABBITMQ_URL": "amqp://u:pw0rd@broker:5672/%2f", "POSTGRES_URL": "postgresql://u:pw0rd@db:5432/jobs",
            "REDIS_URL": "cache:6379", "MONGO_URL": "mongodb://u:pw0rd@log:27017/?authSource=admin"}
    checked = 0
    for file in sorted((odto.SRC / "etc").glob("*.ini")):
        need = MODULES.get(file.stem, ())
        if not all((odto.BUILD / ".libs" / f"{m}.so").exists() for m in need):
            odto.diag(f"{file.name}: not checked, {need} are not all built")
            continue
        for env in ({}, urls):
            r = subprocess.run([str(odto.HOST), "-c", str(file), "--check"], capture_output=True, text=True,
                               env=environment(ODTO_PLUGIN_DIR=str(odto.BUILD / ".libs"), **env))
            equal(r.returncode, 0, f"{file.name}: {r.stdout}{r.stderr}")
            check("pw0rd" not in r.stdout + r.stderr, "a password is shown")
            routes = sum(x.startswith("[route ") for x in file.read_text().splitlines())
            odto.contains(r.stdout, f" {routes} routes")
        checked += 1
    check(checked >= 2, "manifests were checked")


@suite.test("tools/up --servers --once: the gate passes, every host is ready, nothing is left")
def _():
    need_servers()
    with tempfile.TemporaryDirectory() as tmp:
        os.chmod(tmp, 0o755)  # PostgreSQL runs as a user of its own
        monitoring = [] if prometheus.missing() else ["--monitoring"]
        r = subprocess.run([*PROGRAM, "--once", *monitoring], capture_output=True, text=True, timeout=180 * odto.SLOW,
                           env=environment(TMPDIR=tmp))
        equal(r.returncode, 0, f"exit status\n{r.stdout[-3000:]}{r.stderr[-2000:]}")
        contains(r.stdout, "0 failed")
        contains(r.stdout, "Prometheus  " if monitoring else "MongoDB")
        roles = [m for m in MODULES if (odto.BUILD / ".libs" / f"{m}.so").exists() or m not in ("web", "pty")]
        equal(len(re.findall(r"^state +ready", r.stdout, re.M)), len(roles), "hosts that are ready")
        equal(processes_of(tmp), [], "processes that are left")
        equal([n for n in os.listdir(tmp) if n.startswith("odto-up")], [], "folders that are left")


def look_at_the_page(port):
    """The page is there, and its terminal shows the dashboard of these hosts."""
    equal(odto.Client(port).get("/").status, 200, "the page")
    with terminal.Json(port, "/ws", timeout=30 * odto.SLOW) as t:
        t.expect("Statistics")


@suite.test("the page's terminal shows the dashboard; Ctrl-C stops everything")
def _():
    need_servers()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="odto-up-test-"))
    folder.chmod(0o755)
    out = folder / "out"
    with open(out, "wb") as f:
        p = subprocess.Popen([*PROGRAM, "--data", str(folder / "data")], stdout=f, stderr=f, env=environment(),
                             start_new_session=True,
                             # a shell's background job has it ignored, and so have we then
                             preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        wait_until(lambda: "ready. In another terminal" in out.read_text() or p.poll() is not None, 90, "it is up")
        check(p.poll() is None, f"it runs:\n{out.read_text()[-3000:]}")
        page = re.search(r"^  web +http://127.0.0.1:(\d+)$", out.read_text(), re.M)
        equal(bool(page), (odto.BUILD / ".libs" / "web.so").exists(), "there is a page where it was built")
        if page:
            look_at_the_page(int(page[1]))
        p.send_signal(signal.SIGINT)
        equal(p.wait(60 * odto.SLOW), 0, f"exit status\n{out.read_text()[-2000:]}")
        equal(processes_of(folder), [], "processes that are left")
    finally:
        if p.poll() is None:
            p.kill()
            p.wait()
        shutil.rmtree(folder, ignore_errors=True)


suite.main()
