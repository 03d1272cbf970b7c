#!/usr/bin/env python3
"""The tests of gateway, processor and read model once more, with RabbitMQ as the transport and PostgreSQL, Redis and a server of
MongoDB's protocol as the stores."""
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
FILES = ("gateway", "processor", "read_model")


def main():
    number, good = 0, True
    for name in FILES:
        run = subprocess.Popen([sys.executable, str(HERE / f"{name}.py")], stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "ODTO_TEST_STACK": "servers"})
        planned = seen = 0
        for line in run.stdout:
            plan, test = re.match(r"1\.\.(\d+)(.*)", line), re.match(r"(not )?ok \d+ - (.*)", line)
            if plan:
                planned = int(plan[1])
                print(f"# {name}: {line.strip()}", flush=True)
            elif test:
                seen, number = seen + 1, number + 1
                good &= not test[1]
                print(f"{test[1] or ''}ok {number} - {name}: {test[2]}", flush=True)
            else:
                print(line if line.startswith("#") else f"# {line}", end="", flush=True)
        if run.wait() != 0 or seen != planned:
            number, good = number + 1, False
            print(f"not ok {number} - {name}: {seen} of {planned} tests ran, exit status {run.returncode}", flush=True)
    print(f"1..{number}")
    sys.exit(0 if good else 1)


main()
