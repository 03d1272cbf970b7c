"""Scripted peers for the HTTP server's tests: the helper process http_echo, raw sockets, a WebSocket client."""
import base64
import os
import socket
import struct
import subprocess
import threading

import odto

ECHO = odto.BUILD / "tests" / "helpers" / "http_echo"
odto.HOST = ECHO  # what Suite.main looks for


class Echo:
    """tests/helpers/http_echo on a free port; see its head for keys and commands."""

    def __init__(self, *options, address="127.0.0.1:0", files=None):
        self.address, self.options, self.files = address, options, files
        self.process = None

    def start(self):
        command = [str(ECHO), self.address, *self.options]
        if self.files:  # at most so many descriptors
            command = ["sh", "-c", f'ulimit -n {self.files}; exec "$@"', "sh", *command]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True)
        self.errors = []
        self.reader = threading.Thread(target=lambda: self.errors.extend(self.process.stderr), daemon=True)
        self.reader.start()
        first = self.line()
        if not first.startswith("port "):
            self.process.wait(10 * odto.SLOW)
            self.reader.join()
            raise odto.Failed("http_echo did not start: " + "".join(self.errors))
        self.port = int(first.split()[1])
        self.client = odto.Client(self.port)
        return self

    def line(self):
        return self.process.stdout.readline()

    def send(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def do(self, text):
        """A command; (number, text) of its answer."""
        self.send(text)
        number, _, rest = self.line().partition(" ")
        return int(number), rest.strip()

    def stop(self, ms=3000):
        """Ends it; its exit status (sanitizers make it nonzero)."""
        if self.process.poll() is None:
            self.send(f"quit {ms}")
        try:
            status = self.process.wait((ms / 1000 + 20) * odto.SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise odto.Failed("http_echo did not end") from None
        self.reader.join()
        if status:
            odto.diag("".join(self.errors)[-6000:])
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.stderr.close()
        return status

    def threads(self):
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, tb):
        status = self.stop()
        if kind is None:
            odto.equal(status, 0, "exit status of http_echo")


class Peer:
    """A raw connection that reads whole responses."""

    def __init__(self, port, timeout=15):
        self.s = socket.create_connection(("127.0.0.1", port), timeout=timeout * odto.SLOW)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = b""

    def send(self, data):
        self.s.sendall(data if isinstance(data, bytes) else data.encode())

    def more(self):
        part = self.s.recv(65536)
        self.buf += part
        return part

    def head(self):
        while b"\r\n\r\n" not in self.buf:
            if not self.more():
                raise EOFError(self.buf)
        head, _, self.buf = self.buf.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, _, v in (x.partition(":") for x in lines[1:])}
        return int(lines[0].split()[1]), headers

    def response(self, head=False):
        """(status, headers, body) of a response with Content-Length. An error is JSON and has a correlation id, always."""
        status, headers = self.head()
        n = 0 if head or status in (100, 204) else int(headers.get("content-length", 0))
        while len(self.buf) < n:
            if not self.more():
                raise EOFError(self.buf)
        body, self.buf = self.buf[:n], self.buf[n:]
        if status >= 400:
            odto.check("x-correlation-id" in headers, f"{status} without a correlation id")
            said = {} if head else odto.json.loads(body)  # health says why it is not ready in its own shape
            odto.check(head or said.get("error") or said.get("reason"), f"{status} without an error")
        return status, headers, body

    def closed(self):
        """True once the server has closed; False when bytes came instead."""
        try:
            return not self.s.recv(1)
        except ConnectionResetError:
            return True

    def close(self):
        self.s.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def get(path, *headers, version="1.1"):
    return f"GET {path} HTTP/{version}\r\nHost: t\r\n" + "".join(h + "\r\n" for h in headers) + "\r\n"


TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class WebSocket:
    """RFC 6455 client; status is 101 or what refused it."""

    def __init__(self, port, path="/ws", *headers, timeout=15):
        self.peer = Peer(port, timeout)
        key = base64.b64encode(os.urandom(16)).decode()
        extra = "".join(h + "\r\n" for h in headers)
        self.peer.send(f"GET {path} HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
                       f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{extra}\r\n")
        self.status, self.headers = self.peer.head()

    def body(self):
        n = int(self.headers["content-length"])
        while len(self.peer.buf) < n:
            if not self.peer.more():
                break
        return self.peer.buf[:n]

    @staticmethod
    def encoded(data, kind=TEXT, fin=True):
        data = data.encode() if isinstance(data, str) else data
        n, mask = len(data), b"\x01\x02\x03\x04"
        head = bytes([(0x80 if fin else 0) | kind])
        if n < 126:
            head += bytes([0x80 | n])
        elif n < 65536:
            head += bytes([0xFE]) + struct.pack(">H", n)
        else:
            head += bytes([0xFF]) + struct.pack(">Q", n)
        long_mask = (mask * (n // 4 + 1))[:n]
        masked = (int.from_bytes(data, "big") ^ int.from_bytes(long_mask, "big")).to_bytes(n, "big") if n else b""
        return head + mask + masked

    def send(self, data, kind=TEXT, fin=True):
        self.peer.send(self.encoded(data, kind, fin))

    def _take(self, n):
        while len(self.peer.buf) < n:
            if not self.peer.more():
                raise EOFError("closed without a close frame")
        out, self.peer.buf = self.peer.buf[:n], self.peer.buf[n:]
        return out

    def frame(self):
        """(fin, kind, data) of the next frame."""
        a, n = self._take(2)
        if n == 126:
            n = struct.unpack(">H", self._take(2))[0]
        elif n == 127:
            n = struct.unpack(">Q", self._take(8))[0]
        return bool(a & 0x80), a & 15, self._take(n)

    def receive(self):
        """(kind, data) of the next message; control frames come as they are."""
        kind, out = None, b""
        while True:
            fin, k, data = self.frame()
            if k >= 8:
                return k, data
            kind = kind or k
            out += data
            if fin:
                return kind, out

    def close_code(self):
        """Read on until the close frame; its code."""
        while True:
            kind, data = self.receive()
            if kind == CLOSE:
                return struct.unpack(">H", data[:2])[0] if len(data) >= 2 else 1005

    def close(self):
        self.peer.close()
