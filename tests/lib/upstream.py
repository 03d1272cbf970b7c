"""Scripted servers behind a proxy, each connection on a thread of its own: plain HTTP, and the server's side of a WebSocket."""
import base64
import hashlib
import socket
import struct
import threading

import odto


class Server:
    """Listens on a free port (or the given one) and calls serve(connection) for each connection."""

    def __init__(self, serve, port=0):
        self.serve, self.errors, self.open = serve, [], []
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            c = Connection(s)
            self.open.append(c)
            threading.Thread(target=self._one, args=(c,), daemon=True).start()

    def _one(self, c):
        try:
            self.serve(c)
        except (OSError, EOFError):
            pass
        except Exception as e:  # noqa: BLE001 - shown by the test
            self.errors.append(e)
        finally:
            c.close()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for c in self.open:
            c.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        self.close()
        if kind is None:
            odto.equal(self.errors, [], "errors of the scripted server")


class Connection:
    def __init__(self, s):
        self.s, self.buf, self.line, self.headers = s, b"", "", {}
        s.settimeout(20 * odto.SLOW)

    def close(self):
        try:
            self.s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.s.close()

    def send(self, data):
        self.s.sendall(data if isinstance(data, bytes) else data.encode())

    def take(self, n):
        while len(self.buf) < n:
            part = self.s.recv(65536)
            if not part:
                raise EOFError
            self.buf += part
        out, self.buf = self.buf[:n], self.buf[n:]
        return out

    def head(self):
        """Read a request's head into line and headers (names in lower case)."""
        while b"\r\n\r\n" not in self.buf:
            part = self.s.recv(65536)
            if not part:
                raise EOFError
            self.buf += part
        head, _, self.buf = self.buf.partition(b"\r\n\r\n")
        self.line, *lines = head.decode().split("\r\n")
        self.headers = {k.strip().lower(): v.strip() for k, _, v in (x.partition(":") for x in lines)}
        return self.line

    def upgrade(self, subprotocol=None):
        accept = base64.b64encode(hashlib.sha1((self.headers["sec-websocket-key"] +
                                                "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        extra = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
        self.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  f"Sec-WebSocket-Accept: {accept}\r\n{extra}\r\n")

    def frame(self, data, kind=1, fin=True):
        data = data.encode() if isinstance(data, str) else data
        n = len(data)
        head = bytes([(0x80 if fin else 0) | kind])
        head += bytes([n]) if n < 126 else b"\x7e" + struct.pack(">H", n) if n < 65536 else b"\x7f" + struct.pack(">Q", n)
        self.send(head + data)

    def receive(self):
        """(kind, data) of the next message."""
        kind, out = None, b""
        while True:
            a, b = self.take(2)
            n = b & 127
            n = struct.unpack(">H", self.take(2))[0] if n == 126 else struct.unpack(">Q", self.take(8))[0] if n == 127 else n
            mask = self.take(4)
            data = self.take(n)
            repeated = (mask * (n // 4 + 1))[:n]
            data = (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(n, "big") if n else b""
            if a & 15 >= 8:
                return a & 15, data
            kind = kind or a & 15
            out += data
            if a & 0x80:
                return kind, out
