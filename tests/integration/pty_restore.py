"""Screens come back exactly: full-screen programs seen by one who had the whole stream and by one who comes later,
compared cell by cell in a terminal emulator; and sessions outlive a reload of the plugin."""
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import odto  # noqa: E402
from terminal import Broker, quiet_until  # noqa: E402

suite = odto.Suite()
PROMPT = "sh>"
SCREEN = odto.BUILD / "tests" / "helpers" / "vt_screen"


def screen(data, cols=80, rows=24):
    return subprocess.run([str(SCREEN), str(cols), str(rows)], input=data, capture_output=True, check=True).stdout.decode()


def wrong_cells(a, b):
    x, y = a.split("\n"), b.split("\n")
    odto.equal(y[-2], x[-2], "cursor and screen")
    return sum(p != q for r, s in zip(x, y) for p, q in zip(r.split(), s.split()))


def same_offset(*clients):
    """Read until all have seen the same, and nothing more came."""
    while True:
        for c in clients:
            quiet_until(c, 0.25 / odto.SLOW)  # never longer: some programs draw every half second
        if len({c.offset for c in clients}) == 1:
            return


def compare(b, first, what, limit=8192):
    """A viewer that comes now sees what `first`, who has seen everything, sees."""
    late = b.binary(hello={"auth": b.ticket(role="viewer", session=first.welcome["session"])})
    late.until(lambda c: c.snapshot is not None, "snapshot")
    same_offset(first, late)
    odto.equal(wrong_cells(screen(first.data), screen(late.data)), 0, f"wrong cells of {what}")
    odto.check(len(late.snapshot) <= limit, f"{what}: {len(late.snapshot)} bytes of snapshot")
    late.close()


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
            c = b.binary().greeted()
            c.until(lambda x: len(x.data) > 200, "its first screen")
            compare(b, c, name)
            for key in keys:
                c.type(key)
                quiet_until(c, 0.15)
            compare(b, c, name)
        ran.append(name)
    if not ran:
        raise odto.Skip("none of the programs is installed")


@suite.test("the dashboard: no wrong cell")
def _():
    if not (odto.BUILD / "odto-dashboard").exists():
        raise odto.Skip("odto-dashboard was not built")
    with Broker({"program": "", "environment": "NO_MOTION=1"}) as b:
        c = b.binary().greeted()
        c.until(lambda x: len(x.data) > 500, "its first screen")
        compare(b, c, "dashboard")
        c.type("?")
        quiet_until(c, 0.3)
        compare(b, c, "dashboard with help")


@suite.test("a shell: screen and scrollback, within a sequence, after sizes changed, after a flood")
def _():
    with Broker() as b:
        c = b.binary().greeted().expect(PROMPT)
        for command, end in (("printf '\\033[3'; sleep 0.2; printf '1mred'; echo e''nd", "end\r\n"),
                             ("seq 1 100000; echo f''lood", "flood\r\n"),
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
        odto.check(b.descriptors() <= fds, f"descriptors: {fds}, then {b.descriptors()}")
        for x in (c, j):
            x.type("exit\r")
            odto.equal(x.expect_closed(), 1000)
        odto.wait_until(lambda: not b.children(), 10, "no child is left")


if __name__ == "__main__":
    suite.main()
