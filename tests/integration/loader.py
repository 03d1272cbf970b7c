#!/usr/bin/env python3
"""What the host refuses to load, and how it says so; nothing bad reaches the host's own process."""
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import fixture  # noqa: E402
import odto  # noqa: E402

suite = odto.Suite()


def check(plugin, text="", **env):
    """odto-host --check of a manifest that names this file; its CompletedProcess."""
    with tempfile.TemporaryDirectory(prefix="odto-loader-") as d:
        manifest = pathlib.Path(d, "m.ini")
        manifest.write_text(f"[host]\ndata_dir = {d}/data\n{text}\n[plugin fixture]\nmodule = {plugin}\n"
                            f"listen = 127.0.0.1:{odto.free_port()}\n[route fixture.in]\n")
        return subprocess.run([str(odto.HOST), "-c", str(manifest), "--check"], capture_output=True, text=True, timeout=60,
                              env={**os.environ, **env})


class Folder:
    def __enter__(self):
        self.dir = tempfile.TemporaryDirectory(prefix="odto-loader-so-")
        self.path = pathlib.Path(self.dir.name)
        return self.path

    def __exit__(self, *_):
        self.dir.cleanup()


def refused(done, *words):
    odto.equal(done.returncode, 78, f"exit status ({done.stderr})")
    for w in words:
        odto.contains(done.stderr, w, "message")


def variant(name, faults, *words, extra=()):
    @suite.test(name)
    def _():
        with Folder() as d:
            so = fixture.build(d / "fixture.so", *faults, extra=extra)
            refused(check(so), "m.ini:4:", *words)


@suite.test("a sound plugin passes")
def _():
    with Folder() as d:
        done = check(fixture.build(d / "fixture.so"))
        odto.equal(done.returncode, 0, done.stderr)


variant("another ABI: both values of the field are named", ["WRONG_ABI"], "another plugin ABI", "ABI major: plugin 9, host 1")
variant("a crash in its constructor is caught in the trial", ["CONSTRUCTOR_CRASH"], "crashed in its trial", "signal 11")
variant("a crash in init is caught in the trial", ["INIT_CRASH"], "crashed in its trial", "signal 11")
variant("init that fails says why", ["INIT_FAIL"], "failed its trial", "refuses to initialise")
variant("a missing callback is named", ["NO_FINI"], "descriptor lacks ops with init, start and fini")
variant("an undefined symbol is named", [], "failed its trial", "undefined symbol: nowhere",
        extra=["-Dcalloc=nowhere", "-Wno-implicit-function-declaration"])


@suite.test("a hang in init ends with the trial's time")
def _():
    with Folder() as d:
        so = fixture.build(d / "fixture.so", "INIT_HANG")
        refused(check(so, "probe_timeout = 300ms"), "did not end within 0.3 s")


@suite.test("a missing option is reported with the section")
def _():
    with Folder() as d:
        refused(check(fixture.build(d / "fixture.so", "NEEDS_OPTION")), "brand_new")


@suite.test("not a shared object, empty, missing, not a plugin")
def _():
    with Folder() as d:
        text = d / "text.so"
        text.write_text("not an object at all\n")
        refused(check(text), "is not a shared object")
        empty = d / "empty.so"
        empty.write_bytes(b"")
        refused(check(empty), "it is empty")
        refused(check(d / "missing.so"), "no plugin file")
        libc = next(p for p in ("/lib/x86_64-linux-gnu/libz.so.1", "/lib/aarch64-linux-gnu/libz.so.1",
                                "/usr/lib/libz.so.1") if os.path.exists(p))
        refused(check(libc), "is not an odto plugin")


@suite.test("an object cut short is refused")
def _():
    with Folder() as d:
        so = fixture.build(d / "fixture.so")
        data = so.read_bytes()
        for cut in (1, 100, len(data) // 3):
            part = d / f"cut{cut}.so"
            part.write_bytes(data[:cut])
            odto.equal(check(part).returncode, 78, f"exit status with {cut} bytes")


@suite.test("writable by everybody, or of another user: refused")
def _():
    with Folder() as d:
        so = fixture.build(d / "fixture.so")
        os.chmod(so, 0o777)
        refused(check(so), "writable by everybody")
        os.chmod(so, 0o775)
        refused(check(so), "writable by its group")
        os.chmod(so, 0o755)
        os.chmod(d, 0o777)
        refused(check(so), "its folder", "writable by everybody")
        os.chmod(d, 0o1777)
        odto.equal(check(so).returncode, 0, "a sticky folder")
        os.chmod(d, 0o700)
        if os.geteuid() != 0:
            raise odto.Skip("the owner can only be changed by root")
        os.chmod(so, 0o755)
        os.chown(so, 12345, 12345)
        refused(check(so), "belongs to another user")


@suite.test("an unreadable file says so")
def _():
    if os.geteuid() == 0:
        with Folder() as d:
            os.mkdir(d / "fixture.so")
            refused(check(d / "fixture.so"), "is not a regular file")
        return
    with Folder() as d:
        so = fixture.build(d / "fixture.so")
        os.chmod(so, 0)
        refused(check(so), "Permission denied")


@suite.test("the allow-list lets only listed sums in")
def _():
    with Folder() as d:
        so = fixture.build(d / "fixture.so")
        allow = d / "allowed"
        allow.write_text("0" * 64 + "  other.so\n")
        refused(check(so, f"allow_list = {allow}"), "is not on the allow-list", "its SHA-256 is")
        total = subprocess.run(["sha256sum", so], capture_output=True, text=True).stdout
        allow.write_text(total)
        odto.equal(check(so, f"allow_list = {allow}").returncode, 0, "exit status")


@suite.test("five mistakes are five errors with their places")
def _():
    with Folder() as d:
        m = d / "m.ini"
        m.write_text("[host]\nnaem = x\n[route a]\ntransport = memroy\ncapacity = many\n[plugin nowhere]\n[rout b]\n")
        done = subprocess.run([str(odto.HOST), "-c", str(m), "--check"], capture_output=True, text=True)
        odto.equal(done.returncode, 78, "exit status")
        for place in ("m.ini:2:1: error: ", "m.ini:4:13: error: ", "m.ini:5:12: error: ", "m.ini:6:1: error: ", "m.ini:7:1: error: "):
            odto.contains(done.stderr, place, "errors")
        odto.contains(done.stderr, "5 errors", "errors")
        odto.contains(done.stderr, "name", "nearest key")


suite.main()
