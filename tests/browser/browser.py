#!/usr/bin/env python3
"""The page in a real browser: Debian's Chromium driven by npm's playwright-core. This file finds what that needs, installs the
packages of package-lock.json into the build tree, and runs page.test.mjs."""
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
import odto  # noqa: E402

FILES = ("package.json", "package-lock.json", ".npmrc", "lib.mjs", "broker.mjs", "page.test.mjs")


def skip(why):
    print(f"1..0 # SKIP {why}")
    sys.exit(0)


def node_version():
    try:
        out = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
        return int(out.strip().lstrip("v").split(".")[0])
    except (OSError, subprocess.CalledProcessError, ValueError):
        return 0


chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if not odto.HOST.exists():
    skip(f"there is no {odto.HOST}: build first")
if node_version() < 18 or not shutil.which("npm"):
    skip("needs Node.js 18 or newer with npm (Debian packages nodejs, npm)")
if not chromium:
    skip("needs Chromium (Debian package chromium)")
if not any(d.joinpath("plugins/web/dist/bundle.js").exists() for d in (odto.BUILD, odto.SRC)):
    skip("this build has no page of the web plugin")
for plugin in ("web", "pty"):
    if not (odto.BUILD / ".libs" / f"{plugin}.so").exists():
        skip(f"this build has no {plugin} plugin")

work = odto.BUILD / "tests" / "browser.work"
work.mkdir(parents=True, exist_ok=True)
lock = work / "installed.json"  # what was installed last
for name in FILES:
    shutil.copyfile(HERE / name, work / name)
wanted = (HERE / "package-lock.json").read_bytes()
if not lock.exists() or lock.read_bytes() != wanted:
    r = subprocess.run(["npm", "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error",
                        "--fetch-retries=1"], cwd=work, capture_output=True, text=True)
    if r.returncode:
        odto.diag(r.stdout + r.stderr)
        skip("npm can't install playwright-core (no network?)")
    lock.write_bytes(wanted)

env = {**os.environ, "ODTO_BUILDDIR": str(odto.BUILD), "ODTO_CHROMIUM": chromium,
       "ODTO_PORTS": ",".join(str(odto.free_port()) for _ in range(6)),
       "ODTO_HAVE": ",".join(p for p in ("htop", "less", "nano", "mc") if shutil.which(p))}
sys.exit(subprocess.run(["node", "page.test.mjs", *sys.argv[1:]], cwd=work, env=env).returncode)
