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


suite.main(host)
