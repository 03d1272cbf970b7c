"""A private Redis server for tests, and as much of a client as they need.

    with redis.Redis() as r:
        r.url                       # "127.0.0.1:PORT"
        r.call("GET", "key")        # b"value", int, list, None; a refusal raises odto.Failed
"""
import shutil
import socket

import odto
from server import Server


class Redis(Server):
    """Every write is on the disk before it is confirmed (appendfsync always) unless durable is false. tls: a folder made by
    rabbitmq.authority(), for rediss:// on tls_port, to clients with a certificate of that authority."""

    name = "redis"

    def __init__(self, password=None, durable=True, args=(), tls=None, **more):
        if not shutil.which("redis-server"):
            raise odto.Skip("redis-server is not installed (Debian: redis-server)")
        super().__init__(**more)
        self.password, self.durable, self.args = password, durable, list(args)
        self.tls_port = odto.free_port() if tls else None
        if tls:
            self.args += ["--tls-port", str(self.tls_port), "--tls-ca-cert-file", f"{tls}/ca.pem",
                          "--tls-cert-file", f"{tls}/server.pem", "--tls-key-file", f"{tls}/server.key"]

    @property
    def url(self):
        return f"redis://:{self.password}@{self.address}/0" if self.password else self.address

    def command(self):
        return ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.dir), "--save", "",
                "--daemonize", "no", "--appendonly", "yes" if self.durable else "no", "--appendfsync", "always",
                *(["--requirepass", self.password] if self.password else []), *self.args]

    def answers(self):
        return self.call("PING") == b"PONG"

    def call(self, *words):
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as s, s.makefile("rb") as f:
            if self.password:
                s.sendall(self.encoded("AUTH", self.password))
                self.reply(f)
            s.sendall(self.encoded(*words))
            return self.reply(f)

    @staticmethod
    def encoded(*words):
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)

    @classmethod
    def reply(cls, f):
        line = f.readline()
        if not line:
            raise ConnectionError("the server closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            if rest.startswith(b"LOADING"):
                raise ConnectionError("loading")
            raise odto.Failed(f"redis: {rest.decode()}")
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else f.read(int(rest) + 2)[:-2]
        return None if rest == b"-1" else [cls.reply(f) for _ in range(int(rest))]

    def counters(self):
        """The contract's keys: (total, completed, failed), 0 where absent."""
        return tuple(int(v or 0) for v in self.call("MGET", *(f"metrics:jobs:{k}" for k in ("total", "completed", "failed"))))
