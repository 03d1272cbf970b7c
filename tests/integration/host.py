#!/usr/bin/env python3
"""The host as a process: arguments, one data directory, ports, signals, PID 1, a crash and what the next start says of it."""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import fixture  # noqa: E402
import odto  # noqa: E402

suite = odto.Suite()


def run(*args, **more):
    return subprocess.run([str(odto.HOST), *map(str, args)], capture_output=True, text=True, timeout=60 * odto.SLOW, **more)


@suite.test("--version, --help, a bad argument, no manifest")
def _():
    done = run("--version")
    odto.equal(done.returncode, 0)
    odto.contains(done.stdout, "plugin ABI 1.")
    odto.contains(run("--help").stdout, "Signals:")
    odto.equal(run("--bogus").returncode, 64)
    odto.equal(run("-c", "/nonexistent/odto.ini").returncode, 78)


@suite.test("--print masks secrets and can be loaded again")
def _():
    host = odto.Host({"listener 127.0.0.1:1": {"token": "very-secret-token"}})
    host.write()
    done = run("-c", host.file, "--print")
    odto.equal(done.returncode, 0, done.stderr)
    odto.check("very-secret-token" not in done.stdout + done.stderr, "the secret is not shown")
    odto.contains(done.stdout, "[plugin gateway]")
    host.cleanup()


@suite.test("a second host on one data directory refuses and names the first")
def _():
    with odto.Host() as first:
        second = odto.Host({"host": {"data_dir": str(first.data)}})
        second.write()
        done = run("-c", second.file)
        odto.equal(done.returncode, 78, done.stderr)
        odto.contains(done.stderr, "in use by another host")
        odto.contains(done.stderr, str(first.process.pid))
        odto.check(first.gateway.ready(), "the first goes on")
        second.cleanup()


@suite.test("a busy port says which and by whom")
def _():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        host = odto.Host({"plugin gateway": {"listen": f"127.0.0.1:{s.getsockname()[1]}"}})
        host.write()
        done = run("-c", host.file)
        odto.equal(done.returncode, 70, done.stderr)
        odto.contains(done.stderr, str(s.getsockname()[1]))
        odto.contains(done.stderr, str(os.getpid()))
        host.cleanup()


@suite.test("SIGTERM: not ready at once, ends with 0; a second one cuts the delay short")
def _():
    host = odto.Host({"host": {"shutdown_delay": "30s"}})
    with host:
        host.signal(signal.SIGTERM)
        odto.wait_until(lambda: host.gateway.get("/readyz").status == 503, 10, "readiness is withdrawn")
        odto.equal(host.gateway.get("/livez").status, 200)
        begin = time.monotonic()
        host.signal(signal.SIGTERM)
        status = host.process.wait(20 * odto.SLOW)
        odto.check(status == 0, f"exit status {status}\n{host.log[-8000:]}")
        odto.check(time.monotonic() - begin < 20 * odto.SLOW, "the delay was cut short")
        host.process = None
        host.manifest["host"]["shutdown_delay"] = "0"
        host.start()


@suite.test("SIGUSR1 writes the state to the log")
def _():
    with odto.Host() as host:
        host.signal(signal.SIGUSR1)
        odto.wait_until(lambda: "state: gateway READY" in host.log, 10, "the state is in the log")


@suite.test("a plugin that crashes the host is named by the next start, and set aside when it goes on")
def _():
    if fixture.SANITIZED:
        raise odto.Skip("sanitizers take the crash signals themselves")
    host = odto.Host(manifest=odto.Manifest({}), wait=False)
    so = fixture.build(host.dir / "fixture.so", "HANDLE_CRASH")
    host.manifest = odto.Manifest({"host": {}, "route fixture.in": {}, "plugin fixture": {
        "module": str(so), "listen": f"127.0.0.1:{odto.free_port()}"}})
    host.manifest["plugin fixture"]["crash"] = "yes"
    for n in range(3):
        host.start()
        odto.equal(host.process.wait(20 * odto.SLOW), -signal.SIGSEGV, "it dies of the signal")
        host.process = None
    host.start()
    code = host.process.wait(20 * odto.SLOW)
    host.process = None
    odto.equal(code, 78, host.log[-2000:])
    odto.contains(host.log, "ended by signal 11 in fixture (generation 1")
    odto.contains(host.log, "crashed the host or its worker 3 times")
    host.cleanup()


@suite.test("as PID 1 it reaps orphans and passes the signal on")
def _():
    unshare = shutil.which("unshare")
    if not unshare or subprocess.run([unshare, "-pf", "--mount-proc", "true"], capture_output=True).returncode:
        raise odto.Skip("unshare -p is not allowed here")
    host = odto.Host({"handler orphans": {"module": "exec", "types": "orphan", "command": "/bin/sh -c 'setsid sleep 0.2 & exit 0'"}})
    host.write()
    with open(host.log_file, "ab") as log:
        p = subprocess.Popen([unshare, "-pf", "--mount-proc", "--kill-child", str(odto.HOST), "-c", str(host.file)], stdout=log,
                             stderr=log, env=host.environment())
    try:
        odto.wait_until(lambda: host.gateway.ready(), 20, "the host is ready")
        inner = subprocess.run(["pgrep", "-P", str(p.pid)], capture_output=True, text=True).stdout.split()[0]
        job = host.submit(type="orphan")
        host.wait_job(job)

        def zombies():
            out = subprocess.run(["ps", "-o", "stat=", "--ppid", inner], capture_output=True, text=True).stdout
            return [s for s in out.split() if s.startswith("Z")]
        time.sleep(0.4)  # the orphan lives 0.2 s: what is looked at is what is left of it
        odto.equal(zombies(), [], "zombies")
        os.kill(int(inner), signal.SIGTERM)
        odto.equal(p.wait(20 * odto.SLOW), 0, "exit status")
    finally:
        if p.poll() is None:
            p.kill()
        host.cleanup()


suite.main()
