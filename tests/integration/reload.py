#!/usr/bin/env python3
"""Reload: what changed and nothing else, bad copies are turned away while the old one serves, state is carried over."""
import json
import os
import pathlib
import shutil
import signal
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import fixture  # noqa: E402
import odto  # noqa: E402

suite = odto.Suite()
ISOLATED = os.environ.get("ODTO_TEST_ISOLATE")  # set by isolate_reload.py: the same with the plugin in a worker


def in_thread(name):
    """A test of what is left behind in the host: nothing is, where the plugin runs in a worker."""
    return (lambda fn: fn) if ISOLATED else suite.test(name)


def manifest(folder, canary="200ms"):
    return odto.Manifest({
        "host": {"shutdown_timeout": "5s", "canary": canary, "probe_timeout": f"{odto.SLOW:g}s"},
        "log": {"level": "info"},
        "route fixture.in": {"transport": "memory"},
        "plugin fixture": {"module": str(folder / "fixture.so"), "listen": f"127.0.0.1:{odto.free_port()}",
                           "start_timeout": f"{odto.SLOW:g}s", "stop_timeout": "500ms",
                           **({"isolate": "process"} if ISOLATED else {})},
    })


class Running:
    """A host with the fixture; self.ask() is what it serves, self.reload() the verdict."""

    def __init__(self, **keys):
        self.host = odto.Host(manifest=odto.Manifest({}), wait=False)
        self.so = self.host.dir / "fixture.so"
        self.host.manifest = manifest(self.host.dir, **keys)

    def __enter__(self):
        fixture.build(self.so, build_name="old")
        self.host.start()
        odto.wait_until(lambda: self.ask().get("build") == "old", 10, "the fixture serves")
        return self

    def __exit__(self, kind, value, tb):
        if kind is not None:
            odto.diag(self.host.log[-3000:])
        self.host.__exit__(kind, value, tb)

    @property
    def client(self):
        return self.host.client("plugin fixture")

    def ask(self):
        return self.client.get("/fixture").json

    def reload(self, *args):
        done = self.host.odto("--json", "reload", *args)
        text = done.stdout or done.stderr
        return done.returncode, text

    def metric(self, name):
        return self.client.metrics().get(name, 0)


class Load(threading.Thread):
    """Asks without a pause; every answer must be 200."""

    def __init__(self, client, path="/fixture"):
        super().__init__(daemon=True)
        self.client, self.path, self.stop, self.n, self.bad = client, path, threading.Event(), 0, []
        self.start()

    def run(self):
        connection = self.client.keep()
        while not self.stop.is_set():
            try:
                r = self.client.request("GET", self.path, connection=connection)
                if r.status != 200:
                    self.bad.append(r)
            except Exception as e:  # noqa: BLE001 - any failure counts
                self.bad.append(e)
                connection = self.client.keep()
            self.n += 1

    def end(self):
        self.stop.set()
        self.join(30)
        odto.check(self.n > 0, "there was load")
        odto.equal(self.bad[:3], [], "failed requests")


@suite.test("a new copy takes over; every request under load is answered")
def _():
    with Running() as r:
        load = [Load(r.client) for _ in range(4)]
        fixture.build(r.so, build_name="new")
        code, text = r.reload()
        odto.equal(code, 0, text)
        odto.equal(r.ask()["build"], "new")
        for x in load:
            x.end()
        odto.contains(text, "reloaded")


@suite.test("nothing changed: nothing is reloaded")
def _():
    with Running() as r:
        code, text = r.reload()
        odto.equal(code, 0, text)
        odto.contains(text, "unchanged")
        odto.equal(r.metric('odto_plugin_generation{plugin="fixture"}'), 1)


@suite.test("by name: reloaded though nothing changed")
def _():
    with Running() as r:
        for i in range(2, 6):
            code, text = r.reload("fixture")
            odto.equal(code, 0, text)
            odto.equal(r.metric('odto_plugin_generation{plugin="fixture"}'), i)


def bad(name, faults, *words, **keys):
    @suite.test("turned away, the old one serves: " + name)
    def _():
        with Running(**keys) as r:
            load = Load(r.client)
            fixture.build(r.so, *faults, build_name="bad")
            code, text = r.reload()
            odto.check(code != 0, f"exit status is not 0: {text}")
            for w in words:
                odto.contains(text, w, "verdict")
            odto.equal(r.ask()["build"], "old")
            load.end()
            r.host.manifest["host"]["canary"] = "200ms"
            r.host.write()
            fixture.build(r.so, build_name="mended")
            code, text = r.reload()
            odto.equal(code, 0, text)
            odto.equal(r.ask()["build"], "mended")


bad("wrong ABI", ["WRONG_ABI"], "ABI major")
bad("crash in its constructor", ["CONSTRUCTOR_CRASH"], "crashed in its trial")
bad("crash in init", ["INIT_CRASH"], "crashed in its trial")
bad("hang in init", ["INIT_HANG"], "did not end within")
bad("an option the manifest lacks", ["NEEDS_OPTION"], "brand_new")
bad("start fails", ["START_FAIL"], "rolled-back", "refuses to start")
bad("never ready", ["NEVER_READY"], "rolled-back", "did not become ready")
long_enough = f"{2 * odto.SLOW:g}s"  # for the load to be served in it; that makes the copy sick
bad("sick in the canary window", ["CANARY"], "rolled-back", "canary", canary=long_enough)
bad("sick in the canary window, and it hangs in stop", ["CANARY", "STOP_HANG"], "rolled-back", "canary", canary=long_enough)


def verdict(name, faults, action, result, step, reason, status, paused):
    @suite.test(f"one verdict in the log, the metrics, the reply and the exit status: {name}")
    def _():
        with Running() as r:
            key = f'odto_reload_verdicts_total{{plugin="fixture",result="{result}",step="{step}"}}'
            for n, args in enumerate((("--json", "reload", "--wait", "fixture"), ("reload", "fixture", "--wait")), 1):
                fixture.build(r.so, *faults, build_name=f"copy{n}")
                before = {k: r.metric(k) for k in (key, f'odto_reloads_total{{result="{result}"}}', "odto_reload_seconds_count",
                                                   "odto_reload_pause_seconds_count")}
                begin = len(r.host.log)
                done = r.host.odto(*args)
                odto.equal(done.returncode, status, f"exit status ({done.stdout}{done.stderr})")
                grown = {k: r.metric(k) - v for k, v in before.items()}
                odto.equal(grown, {**dict.fromkeys(before, 1), "odto_reload_pause_seconds_count": int(paused)}, "metrics")
                line = next(x for x in r.host.log[begin:].splitlines() if "reload fixture: " in x)
                odto.matches(line, rf"{result} at step {step}, generation \d+, [\d.]+ ms, paused [\d.]+ ms")
                odto.contains(line, reason, "log")
                odto.contains(done.stdout + done.stderr, reason, "reply")
                if n == 2:
                    row = next(x for x in done.stdout.splitlines() if x.startswith("fixture")).split()
                    odto.equal(row[1:3], [action, step], "row of the table")
                    continue
                answer = json.loads(done.stdout)
                v = answer.get("verdicts", answer.get("data", {}).get("verdicts"))[0]
                odto.equal([v["name"], v["action"], v["step"]], ["fixture", action, step], "verdict")
                odto.contains(v["reason"], reason, "reason")
                odto.check(v["durationMs"] > 0 and (v["pauseMs"] > 0) == paused, f"durations of {v}")
                odto.check(v["pauseMs"] <= v["durationMs"], f"the pause is a part of {v}")
                odto.check(not paused or {"quiesce", "save", "stop", "start"} <= set(v["stepsMs"]), f"steps of {v}")


verdict("success", [], "reloaded", "done", "commit", "", 0, True)
verdict("refused", ["INIT_CRASH"], "failed", "refused", "check", "crashed in its trial", 1, False)
verdict("rolled back", ["START_FAIL"], "rolled-back", "rolled-back", "start", "refuses to start", 1, True)


@in_thread("an old one that hangs in stop is left behind, the new one serves")
def _():
    with Running() as r:
        fixture.build(r.so, "STOP_HANG", build_name="hangs")
        odto.equal(r.reload()[0], 0)
        fixture.build(r.so, build_name="new")
        code, text = r.reload()
        odto.equal(code, 0, text)
        odto.equal(r.ask()["build"], "new")
        odto.equal(r.metric('odto_plugin_abandoned_total{plugin="fixture"}'), 1)


@suite.test("state is carried over")
def _():
    with Running() as r:
        code, text = r.reload("fixture")
        odto.equal(code, 0, text)
        odto.equal(r.ask()["restored"], 0)
        odto.contains(r.host.log, "generation 2")


@suite.test("the installed file is overwritten, moved over, cut or deleted: no effect until a reload, which says what is wrong")
def _():
    with Running() as r:
        new = fixture.build(r.host.dir / "other.so", build_name="other")
        shutil.copyfile(new, r.so)  # cp: writes into the installed file
        odto.equal(r.ask()["build"], "old")
        os.rename(new, r.so)
        odto.equal(r.ask()["build"], "old")
        os.truncate(r.so, 1000)
        odto.equal(r.ask()["build"], "old")
        code, text = r.reload()
        odto.check(code != 0, text)
        odto.contains(text, "fixture.so is not a")
        odto.equal(r.ask()["build"], "old")
        os.unlink(r.so)
        code, text = r.reload()
        odto.check(code != 0, text)
        odto.contains(text, "no plugin file")
        odto.equal(r.ask()["build"], "old")


@suite.test("a manifest made invalid changes nothing, made valid again it is taken over")
def _():
    with Running() as r:
        good = r.host.file.read_text()
        r.host.file.write_text(good + "\n[plugin fixture2]\nbogus = 1\n")
        code, text = r.reload()
        odto.check(code != 0, text)
        odto.contains(text, "odto.ini:")
        odto.equal(r.ask()["build"], "old")
        r.host.file.write_text(good.replace("stop_timeout = 500ms", "stop_timeout = 600ms"))
        code, text = r.reload()
        odto.equal(code, 0, text)
        odto.equal(r.metric('odto_plugin_generation{plugin="fixture"}'), 2)


@suite.test("an option that may change while running needs no new generation")
def _():
    with Running() as r:
        r.host.manifest["plugin fixture"]["slow"] = "1ms"
        r.host.write()
        code, text = r.reload()
        odto.equal(code, 0, text)
        odto.contains(text, "reconfigured")
        odto.equal(r.metric('odto_plugin_generation{plugin="fixture"}'), 1)


if ISOLATED and not fixture.SANITIZED:  # those take the crash signals themselves
    @suite.test("a copy whose worker crashes by itself over and over is set aside, the last one that was good or a mended one runs")
    def _():
        with Running() as r:
            fixture.build(r.so, "HANDLE_CRASH", build_name="crashes")
            r.host.manifest["plugin fixture"].update({"crash": "yes", "restart_backoff": "20ms", "restart_intensity": "20"})
            r.host.write()

            def tally():
                r.reload("fixture")  # refused, rolled back, or taken and started anew as often as it crashes
                kept = r.host.data / "crashes"
                return kept.exists() and len(kept.read_text().splitlines()) >= 3
            odto.wait_until(tally, 20, "three crashes are in the tally", every=0.1)
            code, text = r.reload("fixture")
            odto.check(code != 0, text)
            odto.contains(text, "is set aside")
            fixture.build(r.so, build_name="mended")
            odto.wait_until(lambda: r.reload("fixture")[0] == 0, 20, "the mended copy is taken", every=0.1)
            odto.wait_until(lambda: r.ask().get("build") == "mended", 10, "it serves")


@suite.test("an operator's disable outlasts reloads of the manifest and of the copy, until enable")
def _():
    with Running() as r:
        def shown():
            p = json.loads(r.host.odto("--json", "plugins", "fixture").stdout)["plugins"][0]
            return p["state"], p["disabled"]
        odto.equal(r.host.odto("disable", "fixture").returncode, 0)
        odto.equal(shown(), ("STOPPED", True))
        odto.equal(r.reload()[0], 0)
        fixture.build(r.so, build_name="while away")
        r.host.manifest["plugin fixture"]["stop_timeout"] = "700ms"
        r.host.write()
        code, text = r.reload()
        odto.equal(code, 0, text)
        odto.contains(text, "is disabled and stays so")

        def generation():
            return json.loads(r.host.odto("--json", "status").stdout)["generation"]
        before = generation()
        r.host.signal(signal.SIGHUP)
        odto.wait_until(lambda: generation() > before, 10, "the signal's reload")
        odto.equal(r.reload("fixture")[0], 0)
        odto.equal(shown(), ("STOPPED", True))
        odto.equal(r.host.odto("enable", "fixture").returncode, 0)
        odto.wait_until(lambda: r.ask().get("build") == "while away", 10, "the new copy serves")
        odto.equal(shown(), ("READY", False))
        fixture.build(r.so, build_name="later")
        odto.equal(r.reload()[0], 0)
        odto.equal(r.ask()["build"], "later")


@suite.test("a plugin is added and removed")
def _():
    with Running() as r:
        r.host.manifest["plugin second"] = {"module": str(r.so), "listen": f"127.0.0.1:{odto.free_port()}"}
        r.host.write()
        code, text = r.reload()
        odto.equal(code, 0, text)
        second = r.host.client("plugin second")
        odto.equal(second.get("/fixture").json["build"], "old")
        r.host.manifest["plugin second"] = None
        r.host.write()
        code, text = r.reload()
        odto.equal(code, 0, text)
        odto.contains(text, "removed")
        odto.check(not second.ready("/livez"), "its listener is closed")
        odto.equal(r.ask()["build"], "old")


@suite.test("a thousand SIGHUPs in a second: few reloads, the last manifest is active")
def _():
    with Running() as r:
        for i in range(1000):
            if i == 500:
                fixture.build(r.so, build_name="last")
            r.host.signal(signal.SIGHUP)
        odto.wait_until(lambda: r.ask().get("build") == "last", 10, "the last copy serves")
        done = r.metric('odto_reloads_total{result="done"}')
        odto.check(done <= 2, f"{done} reloads")


@suite.test("SIGTERM in the middle of a reload ends in order")
def _():
    with Running() as r:
        r.host.manifest["host"]["canary"] = "30s"
        r.host.write()
        r.reload()
        fixture.build(r.so, build_name="new")
        r.host.signal(signal.SIGHUP)
        odto.wait_until(lambda: r.ask().get("build") == "new", 10, "the new copy serves its trial")
        begin = time.monotonic()
        odto.equal(r.host.stop(), 0, "exit status")
        odto.check(time.monotonic() - begin < 10 * odto.SLOW, "within the budget")
        r.host.start()
        odto.wait_until(lambda: r.ask().get("build") == "new", 10, "it starts again")


@in_thread("many reloads: memory stays, no image is left")
def _():
    with Running() as r:
        rounds = int(os.environ.get("ODTO_RELOADS", "200"))
        r.host.manifest["host"]["canary"] = "0"
        r.host.write()
        r.reload()

        def rss():
            return int(next(x for x in open(f"/proc/{r.host.process.pid}/status") if x.startswith("VmRSS")).split()[1])

        load = [Load(r.client) for _ in range(2)]
        for _ in range(rounds // 4):
            odto.equal(r.reload("fixture")[0], 0)
        before = rss()
        for _ in range(rounds - rounds // 4):
            odto.equal(r.reload("fixture")[0], 0)
        for x in load:
            x.end()
        if not fixture.SANITIZED:
            odto.check(rss() - before <= 1024, f"memory grew by {rss() - before} KiB in {rounds} reloads")
            maps = open(f"/proc/{r.host.process.pid}/maps").read()
            odto.equal(len({x.split()[-1] for x in maps.splitlines() if "/run/fixture." in x}), 1, "mapped copies")


def kept(r, n):
    """So many copies stay mapped, by the metric, by `odto plugins` and in the map of the process."""
    odto.equal(r.metric('odto_plugin_images_kept{plugin="fixture"}'), n, "odto_plugin_images_kept")
    shown = json.loads(r.host.odto("--json", "plugins", "fixture").stdout)["plugins"][0]
    odto.equal(shown["imagesKept"], n, "imagesKept of odto plugins")
    if not fixture.SANITIZED:  # those keep every copy
        maps = pathlib.Path(f"/proc/{r.host.process.pid}/maps").read_text()
        odto.equal(len({x.split()[5] for x in maps.splitlines() if "/run/fixture." in x}), n + 1, "mapped copies")


def leaks(what, fault, *words, abandoned=0, hidden=False, leak=lambda r: None):
    """hidden: the host learns of it only where no sanitizer stands between, and there every copy is kept anyway."""
    @in_thread(f"left behind at stop: {what}; the image is kept and counted, the host lives, reloads go on")
    def _():
        if hidden and fixture.SANITIZED:
            return
        with Running() as r:
            for n in (1, 2):
                fixture.build(r.so, fault, build_name=f"leaks{n}")
                odto.equal(r.reload()[0], 0)
                leak(r)
                load = Load(r.client)
                fixture.build(r.so, build_name=f"new{n}")
                code, text = r.reload()
                load.end()
                odto.equal(code, 0, text)
                odto.equal(r.ask()["build"], f"new{n}")
                kept(r, n)
                odto.equal(r.metric('odto_plugin_abandoned_total{plugin="fixture"}'), n * abandoned, "generations left behind")
                odto.contains(r.host.log, "stays mapped")
                for w in words:
                    odto.contains(r.host.log, w, "log")
                odto.equal(r.reload("fixture")[0], 0)
                kept(r, n)
            # and its orderly end, which Running checks: threads end then, and destructors of keys run


def leased(r):
    """The fixture has an event in hand that it will not settle."""
    def held():
        routes = json.loads(r.host.odto("--json", "routes").stdout)["routes"]
        return next(x["leased"] for x in routes if x["topic"] == "fixture.in") == 1
    odto.wait_until(held, 10, "it has taken the event")


leaks("a thread of the host", "LEAK_HOST_THREAD", "did not stop", abandoned=1)
leaks("a thread behind the host's back", "LEAK_THREAD", "a thread, a thread key", hidden=True)
leaks("a thread key with a destructor", "LEAK_KEY", "a thread, a thread key", hidden=True)
leaks("a timer", "LEAK_TIMER", "left 1 timer(s)")
leaks("a lease", "LEAK_LEASE", "1 lease(s), which went back", leak=leased)


suite.main()
