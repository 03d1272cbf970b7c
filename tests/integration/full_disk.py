#!/usr/bin/env python3
"""A full disk under the data directory, with the host as a whole: 503 that says why, nothing accepted that is not durable, and
recovery by itself. The disk is a tmpfs in a mount namespace of the program's own."""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, __file__.rsplit("/", 2)[0] + "/lib")
import odto

suite = odto.Suite()
SMALL, LARGE = "24m", "200m"


def enter():
    """Go on in a mount namespace of this program's own (it begins again), where that is possible."""
    if os.environ.get("ODTO_TEST_MOUNTS") or not shutil.which("unshare"):
        return
    script = "mount -t tmpfs -o size=1m odto /mnt"
    if subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c", script], capture_output=True).returncode == 0:
        os.environ["ODTO_TEST_MOUNTS"] = "own"
        os.execvp("unshare", ["unshare", "-m", "--propagation", "private", sys.executable, *sys.argv])


def mount(host, size, remount=False):
    if not os.environ.get("ODTO_TEST_MOUNTS"):
        raise odto.Skip("mounting a small disk is not allowed here (it needs root)")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"{'remount,' if remount else ''}size={size}", "odto", str(host.data)], check=True)


def fill(host):
    """Posts jobs until one is refused: the ids that were accepted, and the refusal."""
    accepted, connection = [], host.gateway.keep()
    while len(accepted) < 20000:
        j = odto.job(payload={"text": "x" * 4000})
        r = host.gateway.request("POST", "/jobs", j, connection=connection)
        if r.status != 202:
            return accepted, r
        accepted.append(j["id"])
    raise odto.Failed("20,000 jobs of 4 kB went into a disk of 24 MB")


def refused_well(r):
    odto.equal(r.status, 503, r.text)
    odto.check(r.header("Retry-After"), "a refusal says when to come again")
    odto.check(r.json["error"], r.text)


def all_there(host, accepted):
    odto.wait_until(lambda: host.stats()["totalJobs"] >= len(accepted), 120, f"{len(accepted)} jobs have ended")
    for i in accepted[:: max(1, len(accepted) // 50)]:
        odto.equal(host.job(i)["status"], "COMPLETED", i)
    odto.equal(host.stats()["failedJobs"], 0, "failed jobs")


@suite.test("a full disk: 503 with a reason; space comes, and the host goes on by itself with all that it accepted")
def _():
    host = odto.Host()
    mount(host, SMALL)
    with host:
        accepted, refusal = fill(host)
        odto.check(len(accepted) > 100, f"{len(accepted)} accepted")
        refused_well(refusal)
        r = odto.wait_until(lambda: (lambda r: r.status == 503 and r)(host.gateway.get("/healthz")), 20, "healthz says it")
        odto.equal(r.json["status"], "not_ready", r.text)
        odto.check("space" in r.json["reason"] or "full" in r.json["reason"], r.text)
        odto.check("space" in host.log, "the log says it")
        mount(host, LARGE, remount=True)
        odto.wait_until(lambda: host.gateway.get("/healthz").status == 200, 60, "it is ready again")
        j = odto.job()
        odto.wait_until(lambda: host.gateway.post("/jobs", j).status == 202, 20, "a job is accepted again")
        all_there(host, [*accepted, j["id"]])
        odto.equal(host.stats()["totalJobs"], len(accepted) + 1, "each once")
    subprocess.run(["umount", str(host.data)])


@suite.test("killed while the disk is full: after the restart with more space nothing accepted is missing")
def _():
    host = odto.Host()
    mount(host, SMALL)
    with host:
        accepted, refusal = fill(host)
        refused_well(refusal)
        host.kill()
        mount(host, LARGE, remount=True)
        host.start()
        all_there(host, accepted)
    subprocess.run(["umount", str(host.data)])


@suite.test("started on a full disk: it says so, and where")
def _():
    host = odto.Host(wait=False)
    mount(host, "64k")
    ballast = os.open(host.data / "ballast", os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(ballast, b"x" * 4096)
    except OSError:
        os.close(ballast)
    host.start()
    try:
        odto.wait_until(lambda: host.process.poll() is not None, 30, "the host ends")
        odto.check(host.process.returncode != 0, "it ends with an error")
        odto.check("space" in host.log and str(host.data) in host.log, host.log[-2000:])
    finally:
        host.kill()
        subprocess.run(["umount", str(host.data)])
        host.cleanup()


enter()
suite.main()
