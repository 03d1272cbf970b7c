"""A private RabbitMQ for tests: own epmd, ports, directories and cookie; nothing of it is left behind.

    with rabbitmq.RabbitMQ() as broker:
        broker.url                       # amqp://guest:guest@127.0.0.1:PORT/%2f
        broker.queue("jobs.created")     # what the management API says, or None
        broker.kill(); broker.start()    # kill -9 and back, with what was durable

Management statistics come every half second, so look with odto.wait_until.
"""
import base64
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

import odto


def scripts():
    """The folder of the broker's own scripts (those on PATH change the user)."""
    at = shutil.which("rabbitmqctl")
    return pathlib.Path(os.path.realpath(at)).parent if at else None


def need():
    if not scripts() or not shutil.which("epmd"):
        raise odto.Skip("no RabbitMQ on this machine (Debian: rabbitmq-server)")


def _listens(port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


class RabbitMQ:
    """conf: more lines of rabbitmq.conf, {port} in them is the broker's; advanced: Erlang terms for application
    rabbit that it has no line for; tls: a folder made by authority(), for amqps on tls_port."""

    def __init__(self, conf=(), tls=None, management=True, advanced=""):
        need()
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="odto-rabbit-"))
        self.port, self.api_port, self.dist, self.epmd_port = (odto.free_port() for _ in range(4))
        self.tls_port = odto.free_port() if tls else None
        self.management = management
        self.node = f"odto{os.getpid()}x{self.port}@localhost"
        self.process = self.epmd = None
        for d in ("home", "mnesia", "log"):
            (self.dir / d).mkdir()
        (self.dir / "enabled_plugins").write_text("[rabbitmq_management].\n" if management else "[].\n")
        if advanced:
            (self.dir / "advanced.config").write_text(f"[{{rabbit, [{advanced}]}}].\n")
        lines = [f"listeners.tcp.1 = 127.0.0.1:{self.port}", "vm_memory_high_watermark.absolute = 4GB",
                 "disk_free_limit.absolute = 10MB", "raft.wal_max_size_bytes = 16777216",
                 "collect_statistics_interval = 500", "heartbeat = 30", "log.file.level = warning"]
        if management:
            lines += ["management.tcp.ip = 127.0.0.1", f"management.tcp.port = {self.api_port}",
                      "management.rates_mode = none"]
        if tls:
            lines += [f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}", f"ssl_options.cacertfile = {tls}/ca.pem",
                      f"ssl_options.certfile = {tls}/server.pem", f"ssl_options.keyfile = {tls}/server.key",
                      "ssl_options.verify = verify_none", "ssl_options.fail_if_no_peer_cert = false"]
        (self.dir / "rabbitmq.conf").write_text("\n".join([*lines, *(c.replace("{port}", str(self.port)) for c in conf)]) + "\n")

    @property
    def url(self):
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2f"

    def environment(self):
        d = self.dir
        keep = {k: v for k, v in os.environ.items() if not k.startswith("RABBITMQ_")}
        return {**keep, "HOME": str(d / "home"), "RABBITMQ_NODENAME": self.node, "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
                "RABBITMQ_NODE_PORT": str(self.port), "RABBITMQ_DIST_PORT": str(self.dist),
                "ERL_EPMD_PORT": str(self.epmd_port), "ERL_EPMD_ADDRESS": "127.0.0.1",
                "RABBITMQ_MNESIA_BASE": str(d / "mnesia"), "RABBITMQ_LOG_BASE": str(d / "log"),
                "RABBITMQ_PID_FILE": str(d / "pid"), "RABBITMQ_ENABLED_PLUGINS_FILE": str(d / "enabled_plugins"),
                "RABBITMQ_CONFIG_FILE": str(d / "rabbitmq.conf"), "RABBITMQ_ADVANCED_CONFIG_FILE": str(d / "advanced.config"),
                "RABBITMQ_CONF_ENV_FILE": "/dev/null", "RABBITMQ_GENERATED_CONFIG_DIR": str(d / "config"),
                "RABBITMQ_FEATURE_FLAGS_FILE": str(d / "feature_flags"),
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none "
                                                       + f"+S {max(1, os.cpu_count() // 2)}"}

    # ---- life

    def start(self, wait=True):
        if self.epmd is None:
            self.epmd = subprocess.Popen(["epmd", "-port", str(self.epmd_port), "-address", "127.0.0.1"],
                                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with open(self.dir / "out", "ab") as out:
            self.process = subprocess.Popen([str(scripts() / "rabbitmq-server")], env=self.environment(),
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        return self.wait() if wait else self

    def wait(self):
        def up():
            if self.process.poll() is not None:
                raise odto.Failed(f"the broker ended: {(self.dir / 'out').read_text()[-2000:]}")
            return _listens(self.port) and (not self.management or self._get("/api/overview") is not None)
        odto.wait_until(up, 180, "the broker is up", every=0.05)  # a busy machine has taken 70 s
        return self

    def _end(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass
        self.process.wait(60 * odto.SLOW)
        self.process = None

    def kill(self):
        """kill -9 of the whole node; start() brings back what was durable."""
        if self.process:
            self._end(signal.SIGKILL)
            odto.wait_until(lambda: not _listens(self.port), 10, "the broker's port is closed")

    def shutdown(self):
        """An orderly stop of the broker alone."""
        pid = int((self.dir / "pid").read_text())
        os.kill(pid, signal.SIGTERM)
        self.process.wait(60 * odto.SLOW)
        self.process = None

    def restart(self):
        self.shutdown()
        return self.start()

    def close(self):
        self.kill()
        if self.epmd:
            self.epmd.kill()
            self.epmd.wait()
            self.epmd = None
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *exc):
        self.close()

    # ---- looking inside, and changing

    def ctl(self, *args):
        return subprocess.run([str(scripts() / "rabbitmqctl"), "-q", *args], env=self.environment(), capture_output=True,
                              text=True, timeout=180 * odto.SLOW, check=True).stdout

    def settle(self):
        """The queues declared so far are on the broker's disk: it forgets one that is younger than its own log when
        it is killed, with all that was confirmed to it."""
        self.ctl("eval", "mnesia:dump_log().")

    def api(self, method, path, body=None):
        """(status, parsed answer) of the management API."""
        c = http.client.HTTPConnection("127.0.0.1", self.api_port, timeout=15 * odto.SLOW)
        try:
            c.request(method, path, json.dumps(body) if body is not None else None,
                      {"Authorization": "Basic " + base64.b64encode(b"guest:guest").decode(),
                       "Content-Type": "application/json"})
            r = c.getresponse()
            text = r.read()
            return r.status, json.loads(text) if text else None
        finally:
            c.close()

    def _get(self, path):
        try:
            status, answer = self.api("GET", path)
        except (OSError, http.client.HTTPException):
            return None
        return answer if status == 200 else None

    def queue(self, name, vhost="/"):
        v = urllib.parse.quote(vhost, safe="")
        return self._get(f"/api/queues/{v}/{urllib.parse.quote(name, safe='')}")

    def queues(self):
        return {q["name"]: q for q in self._get("/api/queues") or []}

    def connections(self):
        return [c["user_provided_name"] for c in self._get("/api/connections") or [] if "user_provided_name" in c]

    def depth(self, name):
        """(ready, unacknowledged) as the queue itself says, not the statistics."""
        for line in self.ctl("list_queues", "name", "messages_ready", "messages_unacknowledged").splitlines():
            at, _, rest = line.partition("\t")
            if at == name:
                ready, unacked = rest.split("\t")
                return int(ready), int(unacked)
        return None

    def block(self, on=True):
        """A memory alarm: publishers are blocked. Off: back to normal."""
        self.ctl("set_vm_memory_high_watermark", "absolute", "1MB" if on else "4GB")


def authority(folder, name="localhost"):
    """A test CA and a server certificate for localhost and 127.0.0.1 in folder: ca.pem, server.pem, server.key."""
    folder = pathlib.Path(folder)

    def openssl(*args):
        subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=folder)
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2",
            "-subj", "/CN=test authority")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj", f"/CN={name}")
    (folder / "ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out",
            "server.pem", "-days", "2", "-extfile", "ext")
    for f in ("server.key", "server.pem", "ca.pem"):
        (folder / f).chmod(0o644)
    folder.chmod(0o755)
    return folder


def pika_or_skip():
    if "/usr/lib/python3/dist-packages" not in sys.path:
        sys.path.append("/usr/lib/python3/dist-packages")  # Debian's, when python3 on PATH is another one
    try:
        import pika
    except ImportError:
        raise odto.Skip("no pika (Debian: python3-pika)") from None
    return pika


def connect(url):
    """A connection of pika's. Without heartbeats: between its calls such a client answers none."""
    pika = pika_or_skip()
    parameters = pika.URLParameters(url)
    parameters.heartbeat = 0
    return pika.BlockingConnection(parameters)
