#!/usr/bin/env python3
"""plugin-check: sound plugins pass, every fault of the fixture is found and named, whatever it does."""
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
    done = check(so, *args)
    odto.equal(done.returncode, 0, f"exit status:\n{done.stdout}{done.stderr}")
    odto.contains(done.stdout, ": 0 problems")


def finds(name, faults, step, *words, extra=(), timeout=60, plain_only=False):
    @suite.test("found: " + name)
    def _(d):
        if plain_only and fixture.SANITIZED:
            raise odto.Skip("sanitizer builds never unmap a copy")
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
finds("a timer that is left", ["LEAK_TIMER"], "life", "1 of its timers")
finds("an allocation whose result is not looked at", ["UNCHECKED"], "memory", "allocation 1 fails: it crashes")
finds("a start that fails without a word", ["SILENT"], "calls", "without a message")


@suite.test("the project's own plugins pass")
def _(d):
    sqlite = PLUGINS / "sqlite.so"
    passes(PLUGINS / "builtin.so")
    passes(PLUGINS / "exec.so")
    passes(PLUGINS / "gateway.so", "--timeout", str(int(20 * odto.SLOW)))
    passes(PLUGINS / "read-model.so", "--timeout", str(int(20 * odto.SLOW)), "--store", str(sqlite))


class Folder:
    def __enter__(self):
        self.dir = tempfile.TemporaryDirectory(prefix="odto-check-")
        return pathlib.Path(self.dir.name)

    def __exit__(self, *_):
        self.dir.cleanup()


suite.main(Folder)
