#!/usr/bin/env python3
"""The bridge rabbitmq beside librabbitmq by hand, on a broker of its own. Arguments: messages and rounds."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ.get("ODTO_SRCDIR", os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))), "tests", "lib"))
import odto  # noqa: E402
import rabbitmq  # noqa: E402

with rabbitmq.RabbitMQ(management=False) as broker:
    sys.exit(subprocess.run([str(odto.BUILD / "tests" / "bench" / "bench_rabbitmq"), str(odto.BUILD / ".libs" / "rabbitmq.so"),
                             broker.url, *sys.argv[1:]]).returncode)
