"""Builds variants of tests/plugins/fixture.c: a small service with one fault."""
import os
import shlex
import subprocess

import odto

CC = shlex.split(os.environ.get("CC", "cc"))


def _sanitizers():
    for line in (odto.BUILD / "config.h").read_text().splitlines():
        if line.startswith("#define ODTO_SANITIZER "):
            return ["-fsanitize=" + line.split('"')[1]]
    return []


SANITIZED = _sanitizers()


def build(path, *faults, build_name="base", extra=(), source="fixture"):
    """Compile the fixture (or another source of tests/plugins) to path; faults without their FAULT_ prefix."""
    src = odto.SRC / "tests" / "plugins" / f"{source}.c"
    command = [*CC, "-std=gnu17", "-D_GNU_SOURCE", "-O1", "-g", "-fPIC", "-shared", "-fvisibility=hidden", *SANITIZED,
               f"-I{odto.SRC / 'contracts' / 'include'}", f'-DFIXTURE_BUILD="{build_name}"',
               *[f"-DFAULT_{f}=1" for f in faults], *extra, str(src), str(odto.BUILD / ".libs" / "libodto.a"),
               "-ljson-c", "-lpcre2-8", "-Wl,--exclude-libs,ALL", "-o", str(path) + ".new"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise odto.Failed("the fixture does not compile:\n" + done.stderr)
    os.rename(str(path) + ".new", path)  # as an installer does: never into a mapped file
    return path


# a crash is to be a crash: the sanitizers' own handlers would turn it into an exit with a report
if SANITIZED:
    for name in ("ASAN_OPTIONS", "TSAN_OPTIONS"):
        os.environ[name] = ":".join(filter(None, (os.environ.get(name), "handle_segv=0")))
