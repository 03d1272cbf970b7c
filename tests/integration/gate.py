#!/usr/bin/env python3
"""tools/gate and the load generator against a real host."""
import os
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import json
import subprocess

import odto
from odto import check, contains, equal

suite = odto.Suite()
GATE = odto.SRC / "tools" / "gate"
LOAD = odto.BUILD / "tests" / "bench" / "load"


def gate(h, *args):
    return subprocess.run([str(GATE), "-g", h.gateway.url, "-r", h.read_model.url, "-p", h.processor.url,
                           "-a", str(h.dir / "artifacts"), *args], capture_output=True, text=True,
                          env={**os.environ, "ODTO_BUILDDIR": str(odto.BUILD)}, timeout=120 * odto.SLOW)


@suite.test("the gate passes against a running host")
def _(h):
    r = gate(h)
    equal(r.returncode, 0, f"exit status ({r.stdout}{r.stderr})")
    check("FAIL" not in r.stdout, r.stdout)
    for line in ("gateway is healthy", "read model is healthy", "jobs accepted: 3 of 3", "jobs COMPLETED: 3 of 3",
                 "events of every job", "no event twice", "statistics", "metrics of the gateway",
                 "metrics of the processor"):
        contains(r.stdout, "PASS  " + line)
    check(len(list((h.dir / "artifacts").iterdir())) > 5, "artifacts are kept")


@suite.test("the gate as JSON, with more jobs")
def _(h):
    r = gate(h, "--json", "-n", "40")
    got = json.loads(r.stdout)
    equal((got["ok"], got["failed"]), (True, 0), r.stdout)


@suite.test("the gate fails when jobs do not complete")
def _(h):
    r = gate(h, "-t", "fail", "-T", "2")
    equal(r.returncode, 1)
    contains(r.stdout, "FAIL  jobs COMPLETED")


@suite.test("the gate fails when nobody is there")
def _(h):
    r = subprocess.run([str(GATE), "-g", f"http://127.0.0.1:{odto.free_port()}", "-r", h.read_model.url, "-T", "1", "-a",
                        str(h.dir / "a2")], capture_output=True, text=True,
                       env={**os.environ, "ODTO_BUILDDIR": str(odto.BUILD)})
    equal(r.returncode, 1)
    contains(r.stdout, "FAIL  gateway is healthy")


@suite.test("the load generator: every job accepted is done")
def _(h):
    ids = h.dir / "ids"
    r = subprocess.run([str(LOAD), "-g", h.gateway.url, "-r", h.read_model.url, "-n", "2000", "-c", "32", "--json", "--ids",
                        str(ids)], capture_output=True, text=True, timeout=120 * odto.SLOW)
    equal(r.returncode, 0, f"exit status ({r.stdout}{r.stderr})")
    got = json.loads(r.stdout)
    equal((got["accepted"], got["done"], got["errors"]), (2000, 2000, 0))
    listed = ids.read_text().split()
    equal((len(listed), len(set(listed))), (2000, 2000), "ids")
    equal(h.job(listed[-1])["status"], "COMPLETED")


@suite.test("the load generator: a rate, and time to COMPLETED")
def _(h):
    r = subprocess.run([str(LOAD), "-g", h.gateway.url, "-r", h.read_model.url, "-n", "300", "-R", "300", "--track", "--json"],
                       capture_output=True, text=True, timeout=120 * odto.SLOW)
    equal(r.returncode, 0, f"exit status ({r.stdout}{r.stderr})")
    got = json.loads(r.stdout)
    check(0.9 <= got["seconds"] <= 10 * odto.SLOW, f"took {got['seconds']} s")
    check(got["completed_ms"]["n"] > 10, f"samples: {got['completed_ms']}")


suite.main(odto.Host)
