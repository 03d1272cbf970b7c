"""Screens come back exactly: full-screen programs seen by one who had the whole stream and by one who comes later,
compared cell by cell in a terminal emulator; and sessions outlive a reload of the plugin."""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import fixture  # noqa: E402
import odto  # noqa: E402
from terminal import Broker  # noqa: E402

suite = odto.Suite()
PROMPT = "sh>"
SCREEN = odto.BUILD / "tests" / "helpers" / "vt_screen"


def screen(data, cols=80, rows=24):
    return subprocess.run([str(SCREEN), str(cols), str(rows)], input=data, capture_output=True, check=True).stdout.decode()


def wrong_cells(a, b):
    x, y = a.split("\n"), b.split("\n")
    odto.equal(y[-2], x[-2], "cursor and screen")
    return sum(p != q for r, s in zip(x, y) for p, q in zip(r.split(), s.split()))


def compared(b, first):
    """A viewer that comes now beside `first`, who has seen everything: bytes of its snapshot, cells that differ.

    The programs are stopped meanwhile (in the middle of whatever they draw): then both get to one offset, however slow they are."""
    late = b.binary(hello={"auth": b.ticket(role="viewer", session=first.welcome["session"])})
    programs = b.children()
    for pid in programs:
        os.killpg(pid, signal.SIGSTOP)
    try:
        late.until(lambda c: c.snapshot is not None, "snapshot")
        while first.offset != late.offset:
            min(first, late, key=lambda c: c.offset).next()
    finally:
        for pid in programs:
            os.killpg(pid, signal.SIGCONT)
    late.close()
    return len(late.snapshot), wrong_cells(screen(first.data), screen(late.data))


def compare(b, first, what, limit=8192):
    size, wrong = compared(b, first)
    odto.equal(wrong, 0, f"wrong cells of {what}")
    odto.check(size <= limit, f"{what}: {size} bytes of snapshot")


def press(c, key):
    """Type it, and take what it makes the program draw first (not every key does)."""
    c.type(key)
    c.s.settimeout(1)
    try:
        c.next()
    except TimeoutError:
        pass
    c.s.settimeout(15 * odto.SLOW)


def shown(b):
    """A client of a program that has begun to draw."""
    return b.binary().greeted().until(lambda x: len(x.data) > 200, "its first screen")


PROGRAMS = [
    ("htop", "", ["\x1b[B", "\x1b[B", "\x1bOR"]),
    ("less", "/usr/share/common-licenses/GPL-3", [" ", "/the\r", "G"]),
    ("nano", "", ["hello", "\r", "text \x1b[A", "\x07"]),
    ("mc", "-u", ["\t", "\x1b[B", "\x1b[20~"]),
    ("top", "-d 0.5", ["1", "z"]),
]


@suite.test("htop, less, nano, mc, top: no wrong cell, at most 8 KiB")
def _():
    ran = []
    for name, arguments, keys in PROGRAMS:
        if not shutil.which(name):
            odto.diag(f"{name} is not installed: left out")
            continue
        with Broker(program=name, arguments=arguments) as b:
            c = shown(b)
            compare(b, c, name)
            for key in keys:
                press(c, key)
                compare(b, c, f"{name} after {key!r}")
        ran.append(name)
    missing = [name for name, *_ in PROGRAMS if name not in ran]
    if missing:
        raise odto.Skip(f"the others are right; not installed: {', '.join(missing)} (Debian: htop less nano mc procps)")


@suite.test("the dashboard: no wrong cell")
def _():
    if not (odto.BUILD / "odto-dashboard").exists():
        raise odto.Skip("odto-dashboard was not built")
    with Broker({"program": "", "environment": "NO_MOTION=1"}) as b:
        c = shown(b)
        compare(b, c, "dashboard")
        press(c, "?")
        compare(b, c, "dashboard with help")


@suite.test("a shell: screen and scrollback, within a sequence, after sizes changed, after a flood")
def _():
    with Broker() as b:
        c = b.binary().greeted().expect(PROMPT)
        for command, end in (("printf '\\033[3'; sleep 0.2; printf '1mred'; echo e''nd", "end\r\n"),
                             (f"seq 1 {100000 if not fixture.SANITIZED else 20000}; echo f''lood", "flood\r\n"),
                             ("printf '\\033[5;10r\\033[?6h\\033[2;2Hin'; printf '\\033[?6l\\033[r'; echo m''argin", "margin\r\n")):
            c.type(command + "\r").expect(end)
            compare(b, c, command, limit=32768)


@suite.test("sessions outlive a reload: same program, nothing lost, nothing leaks")
def _():
    with Broker({"read_model_url": "http://127.0.0.1:1"}) as b:
        c = b.binary().greeted().expect(PROMPT)
        j = b.json().expect(PROMPT)
        c.type("x=kept; echo s''et\r").expect("set\r\n" + PROMPT)
        j.type("printf '\\033[?1049h\\033[7mfull screen\\033[m'\r").expect("full screen")
        before, fds = sorted(b.children()), None
        for turn in range(4):
            c.type(f"(sleep 0.1; echo b''ack-{turn}) &\r").expect(b"&\r\n")
            offset, w = c.offset, c.welcome
            r = b.odto("reload", "pty")
            odto.equal(r.returncode, 0, r.stdout + r.stderr)
            odto.equal((c.expect_closed(), j.expect_closed()), (1012, 1012))
            odto.equal(sorted(b.children()), before, "the same programs")
            seen = c.data
            c = b.binary(hello={"session": w["session"], "token": w["token"], "last_offset": c.offset}).greeted()
            odto.equal(c.welcome["resumed"], True)
            c.data = seen
            c.expect(f"back-{turn}")
            c.type("echo $x\r").expect("kept")
            j2 = b.json(f"/ws?session={j.session}&token={j.token}")
            j2.expect_type("replay_end")
            odto.contains(j2.text, "\033[?1049h")
            odto.contains(j2.text, "full screen")
            j = j2
            if turn == 0:
                fds = b.descriptors()
        # that of a connection which has just ended may be there for a moment; one that leaked stays
        odto.wait_until(lambda: b.descriptors() <= fds, 10, f"no more than {fds} descriptors")
        for x in (c, j):
            x.type("exit\r")
            odto.equal(x.expect_closed(), 1000)
        odto.wait_until(lambda: not b.children(), 10, "no child is left")


def reloaded(b, c):
    """The client again after a reload of the plugin, with all it has seen."""
    r = b.odto("reload", "pty")
    odto.equal(r.returncode, 0, r.stdout + r.stderr)
    odto.equal(c.expect_closed(), 1012)
    d = b.binary(hello={"session": c.welcome["session"], "token": c.welcome["token"], "last_offset": c.offset}).greeted()
    d.data, d.offset = c.data, c.offset if d.offset is None else d.offset
    return d


@suite.test("after a reload, and after two at once: no wrong cell; queries are answered by who is to answer them")
def _():
    with Broker({"read_model_url": "http://127.0.0.1:1"}) as b:
        c = b.binary().greeted().expect(PROMPT)
        c.type("seq 1 2000; printf '\\033[32mgr''een\\033[m'; echo s''et\r").expect("set\r\n" + PROMPT)
        c = reloaded(b, c)
        compare(b, c, "a screen with lines above it, after a reload", limit=32768)
        c.type("seq 1 1000; printf '\\033[5;10r'; echo t''wo\r").expect("two\r\n" + PROMPT)
        c = reloaded(b, reloaded(b, c))
        compare(b, c, "the same after two", limit=32768)
        c.type("stty -echo raw; printf '\\033[6''n'; head -c 4; stty sane; echo a''sked\r").expect("\033[6n")
        c.type("\033[9R").expect("asked\r\n" + PROMPT)  # nobody else has answered
        c = reloaded(b, c)
        compare(b, c, "the same with a query answered", limit=32768)


def sick(path, *faults):
    """A copy of the plugin that takes the sessions over and then fails."""
    flags = [x for lib in ("vterm", "json-c", "nettle")
             for x in subprocess.run(["pkg-config", "--cflags", "--libs", lib], capture_output=True, text=True).stdout.split()]
    fixture.build(path, *faults, source="pty_sick", extra=[
        f"-I{odto.BUILD}", "-include", "config.h", f"-I{odto.SRC / 'plugins' / 'pty'}", "-Wl,--whole-archive",
        str(odto.BUILD / ".libs" / "libpty.a"), "-Wl,--no-whole-archive", *flags])


def back(b, c):
    """The client again, with what it had; None when its session's listener is being replaced."""
    try:
        d = b.binary(hello={"session": c.welcome["session"], "token": c.welcome["token"], "last_offset": c.offset}).greeted()
    except (odto.Failed, OSError):
        return None
    d.data = c.data
    return d


def bad_copy(name, faults, in_trial):
    @suite.test(f"a new copy that is bad ({name}): the sessions go on in the old one, whatever the new one had taken")
    def _():
        b = Broker({"read_model_url": "http://127.0.0.1:1"})
        so, good = b.dir / "pty.so", odto.BUILD / "plugins.d" / "pty.so"
        b.manifest["plugin pty"]["module"] = str(so)
        b.manifest["host"]["canary"] = f"{max(4, 1.5 * odto.SLOW):g}s" if in_trial else "200ms"
        shutil.copy(good, so)
        with b:
            c = b.binary().expect(PROMPT)
            c.type("x=kept; echo s''et\r").expect("set\r\n" + PROMPT)
            before, fds = sorted(b.children()), b.descriptors()
            sick(so, *faults)
            verdict = []
            reload = threading.Thread(target=lambda: verdict.append(b.odto("reload", "pty")))
            reload.start()
            odto.equal(c.expect_closed(), 1012)
            if in_trial:  # it works in the new copy too, as long as that lasts
                c = odto.wait_until(lambda: back(b, c), 20, "the session is there in the new copy")
                c.type("y=new; echo d''one\r").expect("done\r\n" + PROMPT)
                odto.equal(c.expect_closed(), 1012)
            reload.join()
            odto.check(verdict[0].returncode != 0, "the reload failed")
            odto.contains(verdict[0].stdout + verdict[0].stderr, "rolled-back")
            odto.equal(sorted(b.children()), before, "the same programs")
            c = odto.wait_until(lambda: back(b, c), 20, "the session is there in the old copy")
            odto.equal(c.welcome["resumed"], True)
            c.type("echo $x $y.\r").expect("kept new.\r\n" if in_trial else "kept .\r\n")
            odto.check(b.descriptors() <= fds, f"descriptors: {fds}, then {b.descriptors()}")
            shutil.copy(good, b.dir / "good.so")
            os.rename(b.dir / "good.so", so)
            r = b.odto("reload", "pty")
            odto.equal(r.returncode, 0, r.stdout + r.stderr)
            c.expect_closed()
            back(b, c).type("exit\r").expect_closed()


bad_copy("it refuses to start", ["START"], False)
bad_copy("it fails in its trial", [], True)


if __name__ == "__main__":
    suite.main()
