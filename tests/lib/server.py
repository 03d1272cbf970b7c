"""What the private servers of tests share: a process of the test's own in a directory of its own, on a free port of
127.0.0.1, that can be stopped, killed and started again on the same data, waited for by a condition."""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile

import odto


class Server:
    """A subclass gives name, command() and answers(). Use as a context manager, or start() and stop()."""

    name = "server"

    def __init__(self, port=None, directory=None):
        self.port = port or odto.free_port()
        self.own_dir = directory is None
        self.dir = pathlib.Path(directory or tempfile.mkdtemp(prefix=f"odto-{self.name}-"))
        self.process = None

    address = property(lambda self: f"127.0.0.1:{self.port}")

    def command(self):
        raise NotImplementedError

    def answers(self):
        """True when the server takes requests."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=2):
            return True

    @property
    def log(self):
        file = self.dir / "server.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def start(self, timeout=90):
        with open(self.dir / "server.log", "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            cwd=self.dir, start_new_session=True)

        def ready():
            if self.process.poll() is not None:
                raise odto.Failed(f"{self.name} ended with status {self.process.returncode}:\n{self.log[-2000:]}")
            return self.answers()
        try:
            odto.wait_until(ready, timeout, f"{self.name} answers at {self.address}")
        except odto.Failed:
            self.kill()
            raise
        return self

    def _end(self, number, timeout):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(timeout * odto.SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def stop(self):
        self._end(signal.SIGTERM, 20)

    def kill(self):
        self._end(signal.SIGKILL, 20)

    def freeze(self):
        """The server keeps its connections and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def restart(self):
        self.stop()
        return self.start()

    def cleanup(self):
        self.kill()
        if self.own_dir and not os.environ.get("ODTO_TEST_KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.cleanup()
