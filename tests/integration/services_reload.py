#!/usr/bin/env python3
"""The services are replaced under load: no request fails, every job ends once, every event is there once."""
import os
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import json
import signal
import subprocess
import threading

import odto
from odto import check, equal, wait_until

suite = odto.Suite()
LOAD = odto.BUILD / "tests" / "bench" / "load"


def generation(h, plugin):
    m = h.gateway.metrics()
    return max((v for k, v in m.items() if k.startswith("odto_plugin_generation") and f'"{plugin}"' in k), default=0)


def change(h, section, key, value):
    """SIGHUP with another value of one key; returns when the plugin's next generation runs."""
    plugin = section.split()[1]
    before = generation(h, plugin)
    h.manifest[section][key] = value
    h.write()
    h.signal(signal.SIGHUP)
    wait_until(lambda: generation(h, plugin) > before, 20, f"a new generation of {plugin}")


def load(h, n, ids):
    return subprocess.Popen([str(LOAD), "-g", h.gateway.url, "-r", h.read_model.url, "-n", str(n), "-c", "16", "-R", "1500",
                             "--json", "--ids", str(ids)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def reload_under_load(h, section, key, values, n=4000):
    before = h.stats()
    ids = h.dir / f"ids-{section.replace(' ', '-')}"
    p = load(h, n, ids)
    for value in values:
        change(h, section, key, value)
    out, err = p.communicate(timeout=90 * odto.SLOW)
    got = json.loads(out)
    equal((got["accepted"], got["errors"], got["refused"], got["reconnects"]), (n, 0, 0, 0),
          f"what the load generator saw ({out}{err})")
    equal(p.returncode, 0, f"exit status of the load generator ({out}{err})")
    equal(h.stats()["totalJobs"], before["totalJobs"] + n, "finished jobs")
    submitted = set(ids.read_text().split())
    equal(len(submitted), n, "ids")
    seen = {}
    for e in h.read_model.get("/events?limit=500").json:
        seen[e["payload"]["id"]] = seen.get(e["payload"]["id"], 0) + 1
    check(all(v == 1 for v in seen.values()), "no job has two completion events")


def host():
    return odto.Host({"host": {"canary": "50ms"}})


@suite.test("the gateway")
def _(h):
    reload_under_load(h, "plugin gateway", "max_types", ["3", "4", "5"])


@suite.test("the metrics engine")
def _(h):
    reload_under_load(h, "plugin metrics", "writes", ["3", "4", "5"])


@suite.test("the processor")
def _(h):
    reload_under_load(h, "plugin processor", "batch", ["100", "120"])


@suite.test("the read model: statistics never fail, streams resume")
def _(h):
    stop, failures = threading.Event(), []

    def ask():
        c = h.read_model.keep()
        while not stop.is_set():
            r = h.read_model.request("GET", "/stats", connection=c)
            if r.status != 200:
                failures.append(r)
        c.close()
    asker = threading.Thread(target=ask)
    asker.start()
    stream = odto.EventStream(h.read_model)
    a = h.submit()
    seq, data = stream.next()
    equal(json.loads(data)["payload"]["id"], a)
    for value in ("70ms", "80ms", "60ms"):
        change(h, "plugin read-model", "stream_poll", value)
    equal(stream.next(), None, "the old generation's stream ends")
    b = h.submit()
    h.wait_job(b)
    resumed = odto.EventStream(h.read_model, Last_Event_ID=seq)
    equal(json.loads(resumed.next()[1])["payload"]["id"], b, "the stream goes on where it was")
    resumed.close()
    stop.set()
    asker.join()
    equal(failures, [], "answers of /stats that were not 200")


def reload(h, *args):
    done = h.odto("--json", "reload", *args)
    return done.returncode, {v["name"]: v for v in json.loads(done.stdout)["verdicts"]}


@suite.test("a handler that is added serves its jobs, one that is removed is let go by the processor first")
def _(h):
    h.manifest["handler second"] = {"module": "exec", "types": "second", "command": "/bin/echo 7"}
    h.write()
    code, verdicts = reload(h)
    equal((code, verdicts["second"]["action"]), (0, "added"), f"verdicts {verdicts}")
    a = h.submit(type="second")
    equal(h.wait_job(a)["status"], "COMPLETED")
    h.manifest["handler second"] = None
    h.write()
    code, verdicts = reload(h)
    equal((code, verdicts["second"]["action"]), (0, "removed"), f"verdicts {verdicts}")
    b = h.submit(type="second")
    equal(h.wait_job(b)["status"], "FAILED")
    equal(h.wait_job(h.submit())["status"], "COMPLETED")


@suite.test("a store is added together with the plugins that use it, and removed when they have left it")
def _(h):
    h.manifest["store second"] = {"module": "sqlite", "path": str(h.dir / "second.db")}
    h.manifest["plugin metrics"]["counters"] = "second"
    h.manifest["plugin read-model"]["counters"] = "second"
    h.write()
    code, verdicts = reload(h)
    equal((code, verdicts["second"]["action"]), (0, "added"), f"verdicts {verdicts}")
    before = h.stats()["completedJobs"]
    h.wait_job(h.submit())
    wait_until(lambda: h.stats()["completedJobs"] == before + 1, 10, "the new store counts")
    h.manifest["store second"] = None
    h.manifest["plugin metrics"]["counters"] = h.manifest["plugin read-model"]["counters"] = "main"
    h.write()
    code, verdicts = reload(h)
    equal((code, verdicts["second"]["action"]), (0, "removed"), f"verdicts {verdicts}")
    equal(h.wait_job(h.submit())["status"], "COMPLETED")


@suite.test("a plugin's listener moves to another address, the routes of a topic change in place")
def _(h):
    old = h.gateway
    h.manifest["plugin gateway"]["listen"] = f"127.0.0.1:{odto.free_port()}"
    h.manifest["route jobs.created"]["capacity"] = "20000"
    h.write()
    code, verdicts = reload(h)
    equal((code, verdicts["gateway"]["action"]), (0, "reloaded"), f"verdicts {verdicts}")
    check(not old.ready("/livez"), "the old address is closed")
    equal(h.wait_job(h.submit())["status"], "COMPLETED")
    routes = json.loads(h.odto("--json", "routes").stdout)
    check('"capacity": 20000' in json.dumps(routes), f"capacity of the route: {routes}")


@suite.test("disabled in the manifest it goes, enabled it comes back")
def _(h):
    h.manifest["plugin metrics"]["enabled"] = "no"
    h.write()
    equal(reload(h)[1]["metrics"]["action"], "removed")
    a = h.submit()
    equal(h.wait_job(a)["status"], "COMPLETED")
    before = h.stats()["completedJobs"]
    h.manifest["plugin metrics"]["enabled"] = "yes"
    h.write()
    equal(reload(h)[1]["metrics"]["action"], "added")
    wait_until(lambda: h.stats()["completedJobs"] == before + 1, 10, "what it missed is counted")


suite.main(host)
