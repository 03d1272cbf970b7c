#!/usr/bin/env python3
"""docs/manifest.md says what the option tables say. With --update it is made anew; sections of plugins that this
build has left out stay as they are."""
import glob
import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ.get("ODTO_SRCDIR", os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))), "tests", "lib"))
import odto  # noqa: E402

PAGE = odto.SRC / "docs" / "manifest.md"
HEAD = "\n## Plugins\n"


def split(text):
    """(everything before the plugins, {name: section})"""
    head, _, rest = text.partition(HEAD)
    parts = re.split(r"^### (.+)\n", rest, flags=re.M)
    return head, dict(zip(parts[1::2], (p.rstrip("\n") for p in parts[2::2])))


def made():
    plugins = sorted(glob.glob(str(odto.BUILD / "plugins.d" / "*.so")))
    r = subprocess.run([str(odto.BUILD / "odto-reference"), *plugins], capture_output=True, text=True, check=True,
                       env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})
    return split(r.stdout)


def update():
    head, plugins = made()
    if PAGE.exists():
        plugins = {**split(PAGE.read_text())[1], **plugins}
    kinds = ["plugin", "store", "bridge", "handler"]

    def key(item):
        return kinds.index(re.search(r"`\[(\w+) NAME", item[1]).group(1)), item[0]
    text = head + HEAD + "".join(f"\n### {n}\n{t}\n" for n, t in sorted(plugins.items(), key=key))
    pathlib.Path(PAGE).write_text(text)


suite = odto.Suite()


@suite.test("the host's sections are up to date")
def _():
    odto.check(split(PAGE.read_text())[0] == made()[0], "docs/manifest.md is old: run make manifest-reference")


@suite.test("every plugin is there and up to date")
def _():
    now, built = split(PAGE.read_text())[1], made()[1]
    old = [n for n in built if now.get(n) != built[n]]
    odto.check(not old, f"docs/manifest.md is old about {', '.join(old)}: run make manifest-reference")


@suite.test("no option lacks a sentence")
def _():
    rows = [x for x in PAGE.read_text().splitlines() if x.startswith("| `")]
    odto.check(len(rows) > 50, "the tables are there")
    bad = [x for x in rows if not re.search(r"\w[^|]*\.[`)]?( `\$\w+`)? \|$", x)]
    odto.check(not bad, "help that is no sentence: " + "; ".join(bad))


if "--update" in sys.argv:
    update()
else:
    odto.HOST = odto.ODTO  # no host is needed here
    suite.main()
