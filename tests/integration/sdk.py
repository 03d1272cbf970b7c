#!/usr/bin/env python3
"""A new user's way to a plugin: the commands of docs/writing-a-plugin.md as they stand there, with an installed tree only."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import fixture  # noqa: E402
import odto  # noqa: E402

suite = odto.Suite()
GUIDE = (odto.SRC / "docs" / "writing-a-plugin.md").read_text()


class Installed:
    """`make install` into a folder of its own; run() sees only that."""

    def __enter__(self):
        if not shutil.which("pkg-config") or not shutil.which("make"):
            raise RuntimeError("pkg-config and make are needed")
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="odto-sdk-"))
        self.prefix = self.dir / "usr"
        clean = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")
                 and not k.startswith("ODTO_")}
        done = subprocess.run(["make", "-C", str(odto.BUILD), "install", f"prefix={self.prefix}"], env=clean,
                              capture_output=True, text=True)
        odto.equal(done.returncode, 0, f"make install ({done.stderr[-1500:]})")
        self.env = {**clean, "PATH": f"{self.prefix}/bin:/usr/local/bin:/usr/bin:/bin", "HOME": str(self.dir),
                    "PKG_CONFIG_PATH": str(self.prefix / "lib" / "pkgconfig")}
        if fixture.SANITIZED:  # a plugin of a sanitized host is sanitized
            self.env["CFLAGS"] = " ".join(["-O1", "-g", *fixture.SANITIZED])
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.dir, ignore_errors=True)

    def run(self, script, folder=None, good=True):
        done = subprocess.run(["sh", "-euc", script], cwd=folder or self.dir, env=self.env, capture_output=True, text=True,
                              timeout=300 * odto.SLOW)
        if good:
            odto.equal(done.returncode, 0, f"exit status of {script!r}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done


def block(language, after):
    """The first code block of this language below a heading of the guide."""
    part = GUIDE[GUIDE.index(after):]
    return re.search(rf"```{language}\n(.*?)```", part, re.S).group(1)


@suite.test("the guide's commands lead to a plugin that was tested, tried and installed")
def _(tree):
    done = tree.run(block("sh", "## Five minutes"))
    odto.contains(done.stdout, "COMPLETED")
    odto.contains(done.stdout, '"said":"moin"')
    odto.check((tree.prefix / "lib" / "odto" / "plugins" / "hello.so").exists(), "it is in the plugin folder")


@suite.test("the guide's section makes a running host load it")
def _(tree):
    data = tree.dir / "data"
    manifest = tree.dir / "odto.ini"
    ports = {}

    def free(m):
        return m.group(1) + ports.setdefault(m.group(2), str(odto.free_port()))
    text = re.sub(r"(127\.0\.0\.1:|0\.0\.0\.0:|localhost:)(\d+)",
                  free, (tree.prefix / "etc" / "odto" / "odto.ini").read_text())
    manifest.write_text(text)
    env = {**tree.env, "ODTO_DATA_DIR": str(data), "ODTO_SOCKET": str(data / "control.sock")}
    with open(tree.dir / "host.log", "wb") as log:
        host = subprocess.Popen([str(tree.prefix / "bin" / "odto-host"), "-c", str(manifest)], env=env, stdout=log, stderr=log)

    def odto_command(*args):
        return subprocess.run([str(tree.prefix / "bin" / "odto"), *args], env=env, capture_output=True, text=True,
                              timeout=60 * odto.SLOW)
    try:
        odto.wait_until(lambda: odto_command("health").returncode == 0, 20, "the host is ready", every=0.1)
        manifest.write_text(text + "\n" + block("ini", "Then a section in the manifest"))
        done = odto_command("reload")
        odto.equal(done.returncode, 0, f"odto reload ({done.stdout}{done.stderr})")
        odto.matches(done.stdout, r"added\b.*hello|hello\b.*added")
        listen = re.search(r"\[plugin gateway\].*?listen\s*=\s*(\S+)", text, re.S).group(1)
        reads = re.search(r"\[plugin read-model\].*?listen\s*=\s*(\S+)", text, re.S).group(1)
        env["GATEWAY_URL"], env["READ_MODEL_URL"] = ("http://127.0.0.1:" + a.rpartition(":")[2] for a in (listen, reads))
        done = odto_command("submit", "hello", "-p", '{"n":1}', "--wait")
        odto.contains(done.stdout, '"said":"moin"', f"the job's result ({done.stderr})")
    finally:
        host.terminate()
        status = host.wait(30 * odto.SLOW)
    odto.equal(status, 0, f"exit status of the host ({(tree.dir / 'host.log').read_text()[-1500:]})")


@suite.test("its own test finds a mistake")
def _(tree):
    source = tree.dir / "hello" / "hello.c"
    good = source.read_text()
    source.write_text(good.replace('"{\\"said\\":"', '"{\\"sayd\\":"'))
    done = tree.run("make test", tree.dir / "hello", good=False)
    source.write_text(good)
    odto.check(done.returncode != 0, "make test fails")
    odto.contains(done.stderr, "not so: strcmp(j->result")


@suite.test("the checks say what is wrong with a name, a folder that is there")
def _(tree):
    odto.equal(tree.run("plugin-new 'Bad Name'", good=False).returncode, 2)
    odto.equal(tree.run("plugin-new hello", good=False).returncode, 1)


suite.main(Installed)
