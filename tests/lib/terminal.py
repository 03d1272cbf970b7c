"""Clients of the terminal broker and a host that runs it: JSON protocol, subprotocol odto.pty.v1, raw WebSocket."""
import base64
import json
import os
import pathlib
import re
import socket
import struct
import time

import odto

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def mask_frame(data, kind, fin=True):
    head = bytes([(0x80 if fin else 0) | kind])
    n = len(data)
    if n < 126:
        head += bytes([0x80 | n])
    elif n < 65536:
        head += bytes([0x80 | 126]) + struct.pack(">H", n)
    else:
        head += bytes([0x80 | 127]) + struct.pack(">Q", n)
    return head + b"\0\0\0\0" + data  # a mask of zeros is a mask


class Socket:
    """RFC 6455 client over one TCP connection. status is 101 or what refused it; closed is the close code."""

    def __init__(self, port, path="/ws", headers=None, timeout=15, origin=None, host=None, receive_buffer=None):
        self.s = socket.socket()
        if receive_buffer:
            self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.s.settimeout(timeout * odto.SLOW)
        self.s.connect(("127.0.0.1", port))
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf, self.closed, self.parts = b"", None, b""
        all_headers = {"Host": host or f"127.0.0.1:{port}", "Upgrade": "websocket", "Connection": "Upgrade",
                       "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(), "Sec-WebSocket-Version": "13",
                       **({"Origin": origin} if origin else {}), **(headers or {})}
        self.s.sendall((f"GET {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in all_headers.items())
                        + "\r\n").encode())
        while b"\r\n\r\n" not in self.buf:
            if not self._more():
                raise EOFError(self.buf)
        head, _, self.buf = self.buf.partition(b"\r\n\r\n")
        self.status = int(head.split()[1])

    def _more(self):
        part = self.s.recv(262144)
        self.buf += part
        return part

    def _need(self, n):
        while len(self.buf) < n:
            if not self._more():
                self.closed = self.closed or 1006
                raise EOFError("closed")

    def frame(self):
        """(kind, fin, data) of the next frame."""
        self._need(2)
        kind, n, at = self.buf[0] & 15, self.buf[1] & 127, 2
        if n == 126:
            self._need(4)
            n, at = struct.unpack(">H", self.buf[2:4])[0], 4
        elif n == 127:
            self._need(10)
            n, at = struct.unpack(">Q", self.buf[2:10])[0], 10
        self._need(at + n)
        data, fin = self.buf[at:at + n], bool(self.buf[0] & 128)
        self.buf = self.buf[at + n:]
        return kind, fin, data

    def message(self):
        """(kind, data) of the next whole message; None once closed."""
        kind_of_message, parts = None, []
        while True:
            try:
                kind, fin, data = self.frame()
            except (EOFError, ConnectionError):
                return None
            if kind == PING:
                self.answer(data, PONG)
            elif kind == CLOSE:
                self.closed = struct.unpack(">H", data[:2])[0] if len(data) >= 2 else 1005
                try:
                    self.send(data[:2], CLOSE)
                except OSError:
                    pass
                return None
            elif kind != PONG:
                kind_of_message = kind_of_message or kind
                parts.append(data)
                if fin:
                    return kind_of_message, b"".join(parts)

    def send(self, data, kind=TEXT, fin=True):
        self.s.sendall(mask_frame(data if isinstance(data, bytes) else data.encode(), kind, fin))

    def answer(self, data, kind):
        """Send, unless it is too late for that: what came before the end is still to be read."""
        try:
            self.send(data, kind)
        except ConnectionError:
            pass

    def close(self):
        self.s.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Json(Socket):
    """The JSON protocol. text: all output so far; log: every message but output."""

    def __init__(self, port, path="/ws", **more):
        super().__init__(port, path, **more)
        self.text, self.seq, self.log, self.seqs = "", None, [], []
        self.session = self.token = None

    def next(self):
        m = self.message()
        if m is None:
            return None
        o = json.loads(m[1])
        if o["type"] == "output":
            odto.check(self.seq is None or o["seq"] >= self.seq, f"seq rises: {self.seq}, {o['seq']}")
            self.text += o["data"]
            self.seq = o["seq"]
            self.seqs.append(o["seq"])
        else:
            self.log.append(o)
        if o["type"] in ("session", "reconnected"):
            self.session, self.token = o["sessionId"], o["reconnectToken"]
        return o

    def until(self, condition, what="condition"):
        """Read until condition(self); Failed when the connection ends first."""
        while not condition(self):
            if self.next() is None:
                raise odto.Failed(f"closed with {self.closed} before {what}; got {self.text[-500:]!r} {self.log[-5:]}")
        return self

    def expect(self, text):
        return self.until(lambda c: text in c.text, repr(text))

    def expect_type(self, kind):
        self.until(lambda c: any(o["type"] == kind for o in c.log), kind)
        return [o for o in self.log if o["type"] == kind][-1]

    def expect_closed(self):
        while self.next() is not None:
            pass
        return self.closed

    def do(self, kind, **fields):
        self.send(json.dumps({"type": kind, **fields}))
        return self

    def type(self, text):
        return self.do("input", data=text)

    def error(self):
        """The code of the one error before the close."""
        self.expect_closed()
        errors = [o for o in self.log if o["type"] == "error"]
        odto.equal(len(errors), 1, f"errors in {self.log}")
        return errors[0]["code"]


class Binary(Socket):
    """odto.pty.v1. data: output from base on; ack: acknowledge what comes (every 64 KiB)."""

    def __init__(self, port, path="/ws", ack=True, hello=None, start=True, **more):
        headers = {"Sec-WebSocket-Protocol": "odto.pty.v1", **more.pop("headers", {})}
        super().__init__(port, path, headers=headers, **more)
        self.data, self.offset, self.acked, self.ack, self.snapshot = b"", None, 0, ack, None
        self.log, self.welcome, self.received, self.keep = [], None, 0, True
        if start and self.status == 101:
            self.send_type("H", json.dumps({"cols": 80, "rows": 24, **(hello or {})}))

    def send_type(self, kind, payload=b""):
        self.send(kind.encode() + (payload if isinstance(payload, bytes) else payload.encode()), BINARY)

    def next(self):
        m = self.message()
        if m is None:
            return None
        kind, data = chr(m[1][0]), m[1][1:]
        if kind in "OS":
            offset, data = struct.unpack("<Q", data[:8])[0], data[8:]
            if kind == "S":
                self.snapshot, self.offset = data, offset
                self.data = data if self.keep else b""
            else:
                odto.equal(offset, self.offset if self.offset is not None else offset, "offset of output")
                self.offset = offset + len(data)
                self.received += len(data)
                if self.keep:
                    self.data += data
            if self.ack and (self.offset - self.acked >= 65536 or kind == "S"):
                self.acknowledge()
        elif kind == "W":
            self.welcome = json.loads(data)
            self.acked = self.welcome["offset"]
        else:
            self.log.append((kind, data))
        return kind, data

    def acknowledge(self):
        self.acked = self.offset
        self.answer(b"A" + struct.pack("<Q", self.offset), BINARY)

    def until(self, condition, what="condition"):
        while not condition(self):
            if self.next() is None:
                raise odto.Failed(f"closed with {self.closed} before {what}; got {self.data[-500:]!r} {self.log[-5:]}")
        return self

    def expect(self, text):
        text = text if isinstance(text, bytes) else text.encode()
        return self.until(lambda c: text in c.data, repr(text))

    def greeted(self):
        return self.until(lambda c: c.welcome, "welcome")

    def type(self, text):
        self.send_type("I", text)
        return self

    def resize(self, cols, rows):
        self.send_type("R", struct.pack("<HH", cols, rows))
        return self

    def expect_closed(self):
        while self.next() is not None:
            pass
        return self.closed

    def error(self):
        self.expect_closed()
        errors = [json.loads(d) for k, d in self.log if k == "E"]
        odto.equal(len(errors), 1, f"errors in {self.log}")
        return errors[0]["code"]


class Broker(odto.Host):
    """A host with nothing but the pty plugin, running a shell unless told otherwise."""

    def __init__(self, options=None, env=None, program="/bin/sh", arguments=None, **more):
        section = {"listen": f"127.0.0.1:{odto.free_port()}", "listen_http": f"127.0.0.1:{odto.free_port()}",
                   "program": program, "environment": "PS1=sh>, ENV=", **({"arguments": arguments} if arguments else {}),
                   **(options or {})}
        super().__init__(manifest=odto.Manifest({"host": {"shutdown_timeout": "10s", "probe_timeout": "20s"},
                                                 "log": {"level": "info"}, "plugin pty": section}), env=env, **more)

    port = property(lambda self: self.manifest.port("plugin pty"))
    http = property(lambda self: odto.Client(self.manifest.port("plugin pty", "listen_http")))

    def wait_ready(self, timeout=20):
        def ready():
            if self.process.poll() is not None:
                raise odto.Failed(f"the host ended with status {self.process.returncode}:\n{self.log[-4000:]}")
            return self.http.ready()
        odto.wait_until(ready, timeout, "the host is ready")

    def json(self, path="/ws", **more):
        return Json(self.port, path, **more)

    def binary(self, **more):
        return Binary(self.port, **more)

    def ticket(self, token=None, **fields):
        r = self.http.post("/api/v1/term/ticket", fields or None, **({"Authorization": f"Bearer {token}"} if token else {}))
        odto.equal(r.status, 200, f"status of a ticket ({r.text})")
        return r.json["ticket"]

    def metric(self, name):
        return self.http.metrics()[name]

    def wait_metric(self, name, value, timeout=10):
        odto.wait_until(lambda: self.metric(name) == value, timeout, f"{name} is {value}")

    def children(self):
        """Processes whose parent is the host."""
        task = pathlib.Path(f"/proc/{self.process.pid}/task")
        out = []
        for t in task.iterdir():
            try:
                out += (t / "children").read_text().split()
            except OSError:
                pass
        return [int(p) for p in out]

    def rss(self):
        return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{self.process.pid}/status").read_text())[1]) * 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def threads(self):
        return len(os.listdir(f"/proc/{self.process.pid}/task"))


def now():
    return time.monotonic()
