#!/usr/bin/env python3
"""reload.py again, with the plugin in a worker process: the verdicts are the same."""
import os
import pathlib
import runpy

os.environ["ODTO_TEST_ISOLATE"] = "process"
runpy.run_path(str(pathlib.Path(__file__).resolve().with_name("reload.py")), run_name="__main__")
