#!/usr/bin/env python3
"""A host that root starts becomes the user of the manifest for good before a plugin's code runs."""
import atexit
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import odto  # noqa: E402

suite = odto.Suite()
NOBODY = 65534

# The host and its plugins where every user may read them: the tree may lie in root's home.
programs = pathlib.Path(tempfile.mkdtemp(prefix="odto-programs-"))
atexit.register(shutil.rmtree, programs)
os.chmod(programs, 0o755)
plugins = pathlib.Path(shutil.copytree(odto.BUILD / "plugins.d", programs / "plugins"))
for name in ("odto-probe", "odto-worker"):
    shutil.copy(odto.BUILD / name, programs)
odto.HOST = pathlib.Path(shutil.copy(odto.HOST, programs))


def host(**keys):
    if os.geteuid() != 0:
        raise odto.Skip("only root can become another user")
    h = odto.Host({"host": {"canary": "50ms", "user": str(NOBODY), "group": str(NOBODY), "plugin_dir": str(plugins), **keys}})
    os.chmod(h.dir, 0o755)  # the user must reach his data and read the manifest
    return h


def status(h):
    lines = pathlib.Path(f"/proc/{h.process.pid}/status").read_text().splitlines()
    return {x.partition(":")[0]: x.partition(":")[2].split() for x in lines}


@suite.test("user, group, no further groups, no capabilities, no new privileges; it works, reloads and starts again")
def _():
    with host() as h:
        s = status(h)
        odto.equal(s["Uid"], [str(NOBODY)] * 4, "user ids")
        odto.equal(s["Gid"], [str(NOBODY)] * 4, "group ids")
        odto.check(set(s["Groups"]) <= {str(NOBODY)}, f"groups {s['Groups']}")
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            odto.equal(int(s[kind][0], 16), 0, kind)
        odto.equal(s["NoNewPrivs"], ["1"])
        odto.equal(h.wait_job(h.submit())["status"], "COMPLETED")
        for path in [h.data, *h.data.rglob("*")]:
            try:
                owner = path.lstat().st_uid
            except FileNotFoundError:  # a spool has renamed one of its files
                continue
            odto.equal(owner, NOBODY, f"owner of {path}")
        done = h.odto("reload", "gateway")
        odto.equal(done.returncode, 0, done.stdout + done.stderr)
        odto.equal(h.stop(), 0, "exit status")
        h.start()
        odto.equal(h.stats()["completedJobs"], 1, "what was kept")


@suite.test("a folder of somebody else, and files with a second name, are not given away")
def _():
    h = host()
    os.chown(h.data, 12345, 12345)
    h.wait = False
    h.start()
    odto.check(h.process.wait(20 * odto.SLOW) != 0, "it ends")
    odto.contains(h.log, "belongs to neither root nor user")
    h.cleanup()
    with host() as h:
        h.stop()
        os.chown(h.data, 0, 0)
        other = h.dir / "other"
        other.write_text("root's")
        os.link(other, h.data / "linked")
        h.start()
        odto.equal(other.stat().st_uid, 0, "owner of the file with two names")


@suite.test("without root it says so; a user that is none as well")
def _():
    h = host(user="nosuchuser")
    h.wait = False
    h.start()
    odto.check(h.process.wait(20 * odto.SLOW) != 0, "it ends")
    odto.contains(h.log, "there is no such user")
    for path in [h.data, *h.data.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    h.manifest["host"]["user"] = "0"
    h.write()
    done = subprocess.run([str(odto.HOST), "-c", str(h.file)], capture_output=True, text=True, user=NOBODY, group=NOBODY, extra_groups=[])
    odto.check(done.returncode != 0, "it ends")
    odto.contains(done.stderr, f"the host was started by user {NOBODY}")
    h.cleanup()


@suite.test("a port below 1024 is an error with a hint")
def _():
    if int(pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 1023:
        raise odto.Skip("this machine gives such ports to everybody")
    h = host()
    h.manifest["plugin gateway"]["listen"] = "127.0.0.1:1023"
    h.wait = False
    h.start()
    odto.check(h.process.wait(20 * odto.SLOW) != 0, "it ends")
    odto.contains(h.log, "127.0.0.1:1023")
    h.cleanup()


@suite.test("privileges may be gained where the manifest allows it")
def _():
    with host(no_new_privs="no") as h:
        odto.equal(status(h)["NoNewPrivs"], ["0"])


suite.main()
