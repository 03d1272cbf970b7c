"""A private server of MongoDB's protocol for tests, as much of a client as they need, and a proxy with faults.

    with mongo.Mongo() as m:
        m.url                                     # mongodb://127.0.0.1:PORT
        m.find("observatory", "job_events", {})   # documents as dicts

Which server: `mongod` where it is on PATH; else FerretDB embedded in mongo_server/main.go, where Go is there (the first
build takes minutes; the program is kept in the build folder); else a double: mongomock behind mongo_double.py.
ODTO_TEST_MONGO=mongod|ferretdb|double chooses. The chosen one is told in the test's output (Mongo.kind).
"""
import fcntl
import os
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time

import odto
from server import Server

LIB = os.path.dirname(os.path.abspath(__file__))


# ---- BSON (bsonspec.org), the types that events need ----------------------------------------------

class ObjectId(bytes):
    pass


class Int64(int):
    pass


class Date(int):
    """Milliseconds."""


def encode(doc):
    out = b"".join(_element(str(k), v) for k, v in doc.items())
    return struct.pack("<i", len(out) + 5) + out + b"\0"


def _element(key, v):
    name = key.encode() + b"\0"
    if v is None:
        return b"\x0a" + name
    if isinstance(v, bool):
        return b"\x08" + name + bytes([v])
    if isinstance(v, Date):
        return b"\x09" + name + struct.pack("<q", v)
    if isinstance(v, int):
        small = -2**31 <= v < 2**31 and not isinstance(v, Int64)
        return (b"\x10" + name + struct.pack("<i", v)) if small else (b"\x12" + name + struct.pack("<q", v))
    if isinstance(v, float):
        return b"\x01" + name + struct.pack("<d", v)
    if isinstance(v, str):
        raw = v.encode()
        return b"\x02" + name + struct.pack("<i", len(raw) + 1) + raw + b"\0"
    if isinstance(v, ObjectId):
        return b"\x07" + name + v
    if isinstance(v, dict):
        return b"\x03" + name + encode(v)
    if isinstance(v, (list, tuple)):
        return b"\x04" + name + encode(dict(enumerate(v)))
    raise TypeError(f"no BSON for {v!r}")


def decode(data, at=0):
    size = struct.unpack_from("<i", data, at)[0]
    end, at, out = at + size - 1, at + 4, {}
    while at < end:
        kind = data[at]
        stop = data.index(0, at + 1)
        key, at = data[at + 1:stop].decode(), stop + 1
        out[key], at = _value(kind, data, at)
    return out


def _value(kind, data, at):
    if kind == 0x01:
        return struct.unpack_from("<d", data, at)[0], at + 8
    if kind == 0x02:
        n = struct.unpack_from("<i", data, at)[0]
        return data[at + 4:at + 3 + n].decode(), at + 4 + n
    if kind in (0x03, 0x04):
        n = struct.unpack_from("<i", data, at)[0]
        doc = decode(data, at)
        return (list(doc.values()) if kind == 4 else doc), at + n
    if kind == 0x05:
        n = struct.unpack_from("<i", data, at)[0]
        return bytes(data[at + 5:at + 5 + n]), at + 5 + n
    if kind == 0x07:
        return ObjectId(data[at:at + 12]), at + 12
    if kind == 0x08:
        return bool(data[at]), at + 1
    if kind == 0x09:
        return Date(struct.unpack_from("<q", data, at)[0]), at + 8
    if kind == 0x0a:
        return None, at
    if kind == 0x10:
        return struct.unpack_from("<i", data, at)[0], at + 4
    if kind in (0x11, 0x12):
        return struct.unpack_from("<q", data, at)[0], at + 8
    raise odto.Failed(f"BSON type {kind:#x} in a document")


# ---- messages -------------------------------------------------------------------------------------

OP_MSG = 2013


def read_exactly(s, n):
    out = b""
    while len(out) < n:
        part = s.recv(n - len(out))
        if not part:
            raise ConnectionError("closed")
        out += part
    return out


def read_message(s):
    """One whole message, header and all."""
    head = read_exactly(s, 16)
    return head + read_exactly(s, struct.unpack_from("<i", head)[0] - 16)


def message(doc, request=1, reply_to=0):
    body = struct.pack("<iB", 0, 0) + encode(doc)
    return struct.pack("<iiii", len(body) + 16, request, reply_to, OP_MSG) + body


def command_of(raw):
    """Name of the command in an OP_MSG, or None."""
    if struct.unpack_from("<i", raw, 12)[0] != OP_MSG or raw[20] != 0:
        return None
    end = raw.index(0, 26)
    return raw[26:end].decode()


# ---- servers --------------------------------------------------------------------------------------

def ferretdb():
    """The program of mongo_server/, built once a build folder; None where that can't be."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
    out = odto.BUILD / "tests" / "mongo_server"
    source = os.path.join(LIB, "mongo_server")

    def built():
        return out.exists() and out.stat().st_mtime >= os.path.getmtime(os.path.join(source, "main.go"))
    if built():
        return str(out)
    if not go:
        return None
    out.parent.mkdir(parents=True, exist_ok=True)
    with open(str(out) + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built():
            odto.diag("building FerretDB (once, takes minutes)")
            done = subprocess.run([go, "build", "-trimpath", "-o", str(out) + ".new", "."], cwd=source, text=True,
                                  capture_output=True, env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"})
            if done.returncode:
                odto.diag("FerretDB can't be built here: " + (done.stderr.strip().splitlines() or ["?"])[-1][:300])
                return None
            os.rename(str(out) + ".new", out)
    return str(out)


def double():
    """A Python that has mongomock and bson; None where there is none."""
    for python in ("/usr/bin/python3", "python3"):
        try:
            if subprocess.run([python, "-c", "import mongomock, bson"], capture_output=True).returncode == 0:
                return python
        except FileNotFoundError:
            pass
    return None


def choose():
    """(kind, program)."""
    wanted = os.environ.get("ODTO_TEST_MONGO")
    for kind, find in (("mongod", lambda: shutil.which("mongod")), ("ferretdb", ferretdb), ("double", double)):
        if wanted in (None, "", kind):
            program = find()
            if program:
                return kind, program
    raise odto.Skip("no server of MongoDB's protocol: neither mongod, nor Go to build FerretDB, nor python3-mongomock")


class Mongo(Server):
    name = "mongo"

    def __init__(self, **more):
        self.kind, self.program = choose()
        super().__init__(**more)
        (self.dir / "data").mkdir(exist_ok=True)

    url = property(lambda self: f"mongodb://{self.address}")
    # what the double can't: it keeps nothing
    keeps = property(lambda self: self.kind != "double")

    def command(self):
        if self.kind == "mongod":
            return [self.program, "--port", str(self.port), "--bind_ip", "127.0.0.1", "--dbpath", str(self.dir / "data"),
                    "--nounixsocket"]
        if self.kind == "ferretdb":
            return [self.program, self.address, str(self.dir / "data")]
        return [self.program, os.path.join(LIB, "mongo_double.py"), str(self.port)]

    def answers(self):
        return self.run("admin", {"ping": 1})["ok"] == 1

    def every(self, database, collection, projection=None):
        """Each document, in batches over one connection (a cursor may belong to it)."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as s:
            command = {"find": collection, "filter": {}, "batchSize": 5000, "projection": projection or {}}
            while True:
                s.sendall(message({**command, "$db": database}))
                reply = decode(read_message(s), 21)
                if reply.get("ok") != 1:
                    raise odto.Failed(f"{self.kind}: {next(iter(command))}: {reply}")
                cursor = reply["cursor"]
                yield from cursor.get("firstBatch") or cursor.get("nextBatch") or []
                if not cursor["id"]:
                    return
                command = {"getMore": Int64(cursor["id"]), "collection": collection, "batchSize": 5000}

    def run(self, database, command):
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as s:
            s.sendall(message({**command, "$db": database}))
            reply = decode(read_message(s), 21)
        if reply.get("ok") != 1 or reply.get("writeErrors"):
            raise odto.Failed(f"{self.kind}: {next(iter(command))}: {reply}")
        return reply

    def find(self, database, collection, query=None, limit=0):
        """All documents (one batch of up to 100,000)."""
        r = self.run(database, {"find": collection, "filter": query or {}, "batchSize": 100000,
                                **({"limit": limit} if limit else {})})
        return r["cursor"]["firstBatch"]

    def insert(self, database, collection, *documents):
        self.run(database, {"insert": collection, "documents": list(documents)})

    def count(self, database="observatory", collection="job_events", query=None):
        return self.run(database, {"count": collection, "query": query or {}})["n"]


# ---- a proxy with faults --------------------------------------------------------------------------

class Proxy:
    """Stands between a client and a server of MongoDB's protocol. plan(command) is asked for every command that
    passes and returns None (pass it on), "cut" (the server executes it, its reply is cut in the middle), "drop" (the
    connection ends before the server sees it), a number (its reply comes so many seconds late) or a dict (that
    is the reply, the server sees nothing). tls: a folder made by rabbitmq.authority(); clients then come by TLS."""

    def __init__(self, target_port, plan=lambda command: None, tls=None):
        self.target, self.plan, self.tls = target_port, plan, None
        if tls:
            self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self.tls.load_cert_chain(f"{tls}/server.pem", f"{tls}/server.key")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"mongodb://127.0.0.1:{self.port}"
        self.seen = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            client = self.tls.wrap_socket(client, server_side=True) if self.tls else client
            with client, socket.create_connection(("127.0.0.1", self.target)) as server:
                while self._exchange(client, server):
                    pass
        except OSError:
            pass

    def _exchange(self, client, server):
        raw = read_message(client)
        name = command_of(raw)
        self.seen.append(name)
        what = self.plan(name)
        if what == "drop":
            return False
        if isinstance(what, dict):
            client.sendall(message(what, reply_to=struct.unpack_from("<i", raw, 4)[0]))
            return True
        server.sendall(raw)
        reply = read_message(server)
        if what == "cut":
            client.sendall(reply[:len(reply) // 2])
            return False
        if isinstance(what, (int, float)):
            time.sleep(what)
        client.sendall(reply)
        return True

    def close(self):
        self.listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
