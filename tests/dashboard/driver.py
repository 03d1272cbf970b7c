"""The real dashboard in a pseudo terminal (vtdrive, libvterm), for tests.

    with Tui(env={...}) as t:
        t.until(lambda s: "Statistics" in s.text)
        t.keys("n")
"""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import odto

PROGRAM = odto.BUILD / "odto-dashboard"
VTDRIVE = odto.BUILD / "tests" / "dashboard" / "vtdrive"
ESC, ENTER, TAB, BACKSPACE = "\x1b", "\r", "\t", "\x7f"
UP, DOWN = "\x1b[A", "\x1b[B"


class Screen:
    def __init__(self, answer):
        self.__dict__.update(answer)
        self.exit = answer.get("exit")
        self.text = "\n".join(self.rows)

    def __contains__(self, part):
        return part in self.text


class Tui:
    def __init__(self, *args, size=(80, 24), env=None, program=PROGRAM):
        if not VTDRIVE.exists():
            raise odto.Skip("vtdrive is not built (libvterm)")
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="odto-tui-"))
        self.raw_file = self.dir / "raw"
        vars = {k: v for k, v in os.environ.items()
                if k in ("PATH", "ODTO_SRCDIR", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS")}
        vars.update(TERM="xterm-256color", LANG="C.UTF-8", LC_ALL="C.UTF-8", TZ="UTC", HOME=str(self.dir),
                    XDG_STATE_HOME=str(self.dir / "state"))
        vars.update(env or {})
        self.process = subprocess.Popen(
            [str(VTDRIVE), str(size[0]), str(size[1]), str(self.raw_file), str(program), *args],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=vars, text=True, bufsize=1)

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.process.stdin.close()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def screen(self):
        return Screen(self.ask("screen"))

    def keys(self, *texts):
        for text in texts:
            self.ask("keys " + text.encode().hex())

    def resize(self, w, h):
        self.ask(f"resize {w} {h}")

    def signal(self, n):
        self.ask(f"signal {int(n)}")

    def cpu(self):
        a = self.ask("cpu")
        return a["user"] + a["system"]

    def raw(self):
        return self.raw_file.read_bytes()

    def until(self, condition, what="the picture", timeout=10):
        last = [None]

        def good():
            last[0] = self.screen()
            return condition(last[0])
        try:
            odto.wait_until(good, timeout, what)
        except odto.Failed as e:
            raise odto.Failed(f"{e}; the screen is\n" + (last[0].text if last[0] else "(none)")) from None
        return last[0]

    def shows(self, part, timeout=10):
        return self.until(lambda s: part in s, repr(part), timeout)

    def hides(self, part, timeout=10):
        return self.until(lambda s: part not in s, f"no {part!r}", timeout)

    def ended(self, timeout=10):
        return self.until(lambda s: s.exit is not None, "the program's end", timeout)
