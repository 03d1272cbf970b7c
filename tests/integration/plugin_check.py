#!/usr/bin/env python3
"""plugin-check: sound plugins pass, every fault of the fixture is found and named, whatever it does."""
import concurrent.futures
import json
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import fixture  # noqa: E402
import odto  # noqa: E402

suite = odto.Suite()
PROGRAM = odto.BUILD / "plugin-check"
PLUGINS = odto.BUILD / ".libs"


def check(so, *args, timeout=60):
    return subprocess.run([str(PROGRAM), "--cycles", "20", "--timeout", str(int(timeout * odto.SLOW)), *args, str(so)],
                          capture_output=True, text=True)


def passes(so, *args):
    all_in_order(check(so, *args))


def all_in_order(done):
    odto.equal(done.returncode, 0, f"exit status:\n{done.stdout}{done.stderr}")
    odto.contains(done.stdout, ": 0 problems")


def finds(name, faults, step, *words, extra=(), timeout=60, plain_only=False):
    if plain_only and fixture.SANITIZED:
        return  # those builds never unmap a copy, and have an allocator of their own

    @suite.test("found: " + name)
    def _(d):
        done = check(fixture.build(d / "fixture.so", *faults, extra=extra), timeout=timeout)
        odto.equal(done.returncode, 1, f"exit status:\n{done.stdout}{done.stderr}")
        lines = [x for x in done.stdout.splitlines() if x.startswith("FAIL")]
        odto.check(any(x.split()[1] == step and all(w in x for w in words) for x in lines), f"{step}: {words} in\n{done.stdout}")


@suite.test("a sound plugin passes")
def _(d):
    passes(fixture.build(d / "fixture.so"))


@suite.test("as JSON: every check with its step")
def _(d):
    got = json.loads(check(fixture.build(d / "fixture.so"), "--json").stdout)
    odto.equal(got["ok"], True)
    odto.equal(sorted({x["step"] for x in got["checks"]}),
               sorted(["file", "load", "options", "callbacks", "life", "values", "state", "cycles", "memory", "calls"]))
    got = json.loads(check(fixture.build(d / "fixture.so", "WRONG_ABI"), "--json").stdout)
    odto.equal(got["ok"], False)
    odto.equal([x["ok"] for x in got["checks"]], [False])


@suite.test("wrong use says how it is used")
def _(d):
    odto.equal(subprocess.run([str(PROGRAM)], capture_output=True).returncode, 2)
    odto.equal(check(d / "nowhere.so").returncode, 1)


finds("another ABI", ["WRONG_ABI"], "file", "ABI major")
finds("more than one symbol", ["EXPORTS"], "file", "more than the symbol odto_plugin", "fixture_extra", plain_only=True)
finds("never unmapped by its flags", [], "file", "nodelete", extra=["-Wl,-z,nodelete"])
finds("a library search path", [], "file", "search path", extra=["-Wl,-rpath,/opt/lib"])
finds("crash in its constructor", ["CONSTRUCTOR_CRASH"], "load", "crashed (signal 11")
finds("callbacks that are missing", ["NO_FINI"], "load", "lacks ops with init, start and fini")
finds("a bad option table", ["BAD_OPTIONS"], "options", "'Listen' is no name")
finds("a default out of range", ["BAD_OPTIONS"], "options", "many", "out of range")
finds("an option that stands twice", ["BAD_OPTIONS"], "options", "choice", "twice")
finds("crash in init", ["INIT_CRASH"], "life", "crashed (signal 11")
finds("hang in init", ["INIT_HANG"], "life", "did not end within", timeout=1)
finds("hang in stop", ["STOP_HANG"], "life", "did not end within", timeout=1)
finds("a thread that is left", ["LEAK_THREAD"], "cycles", "can't be unmapped", "1 threads", plain_only=True)
finds("a thread key that is left", ["LEAK_KEY"], "cycles", "can't be unmapped", "1 thread keys", plain_only=True)
finds("a lease that is left", ["LEAK_LEASE"], "life", "leases were not settled")
finds("a timer that is left", ["LEAK_TIMER"], "life", "1 of its timers")
finds("an allocation whose result is not looked at", ["UNCHECKED"], "memory", "allocation 1 fails: it crashes", plain_only=True)
finds("a start that fails without a word", ["SILENT"], "calls", "without a message")


finds("a call that fails and hangs it", ["CALL_HANG"], "calls", "call 1 of the host fails", "it hangs", timeout=5)


# What each needs beside its defaults, where a check without a server is to come to its start.
SHIPPED = {
    "builtin": (), "exec": (), "gateway": (), "metrics": (), "mongo": (), "processor": (), "pty": (), "rabbitmq": (),
    "read-model": (), "redis": (), "sqlite": (), "web": (),
    "http": ("--set", "url=http://127.0.0.1:1/"),
    "nng": ("--set", "dial=tcp://127.0.0.1:1"),
    "pipe": ("--set", f"command={odto.BUILD}/tests/helpers/job_worker pipe"),
    "postgres": ("--set", "url=postgresql://odto:secret@127.0.0.1:1/odto"),
}


BUILT = [name for name in SHIPPED if (PLUGINS / f"{name}.so").exists()]
pool = concurrent.futures.ThreadPoolExecutor(3)  # most of a check is waiting
checks = {}


def test_shipped(name):
    @suite.test(f"the project's own {name} passes")
    def _(d):
        for other in BUILT:
            if other not in checks:
                checks[other] = pool.submit(check, PLUGINS / f"{other}.so", "--store", str(PLUGINS / "sqlite.so"), *SHIPPED[other])
        all_in_order(checks[name].result())


for shipped in BUILT:
    test_shipped(shipped)


@suite.test("every plugin that is built is among those")
def _(d):
    built = {so.stem for so in PLUGINS.glob("*.so") if not so.stem.startswith("lib")}
    odto.equal(sorted(built - set(SHIPPED)), [], "plugins without a check")


class Folder:
    def __enter__(self):
        self.dir = tempfile.TemporaryDirectory(prefix="odto-check-")
        return pathlib.Path(self.dir.name)

    def __exit__(self, *_):
        self.dir.cleanup()


suite.main(Folder)
