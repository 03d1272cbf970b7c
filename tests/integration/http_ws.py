"""WebSocket routes: handshake, messages, limits, order, close codes, slow and dead peers."""
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import odto  # noqa: E402
from http_peer import BINARY, CLOSE, PING, PONG, TEXT, Echo, Peer, WebSocket, get  # noqa: E402

suite = odto.Suite()


def greeted(e, path="/ws", *headers):
    w = WebSocket(e.port, path, *headers)
    odto.equal(w.status, 101)
    return w, odto.json.loads(w.receive()[1])


@suite.test("the handshake: request seen, correlation id, refusals with a status")
def _(e):
    mine = "7d444840-9dc0-11d1-b245-5ffdce74fad2"
    w, hello = greeted(e, "/ws?q=a%20b", "X-Custom: mine", "Origin: http://o", "X-Correlation-Id: " + mine)
    odto.equal(hello, {"generation": 0, "q": "a b", "peer": "127.0.0.1", "custom": "mine", "origin": "http://o",
                       "subprotocol": ""})
    odto.equal(w.headers["x-correlation-id"], mine)
    w.close()
    for path, headers, want in (("/ws?refuse=yes", (), 403), ("/nothing", (), 404), ("/hello", (), 200),
                                ("/ws", ("X-Correlation-Id: 1",), 400), ("/ws", ("Sec-WebSocket-Protocol: x",), 400)):
        w = WebSocket(e.port, path, *headers)
        odto.equal(w.status, want, path)
        odto.check("x-correlation-id" in w.headers, "correlation id")
        if want != 200:
            odto.check(odto.json.loads(w.body())["error"], "JSON")
        w.close()
    odto.equal(e.client.get("/ws").status, 426)
    with Peer(e.port) as p:
        p.send(get("/ws", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 8"))
        status, headers, _ = p.response()
        odto.equal((status, headers["sec-websocket-version"]), (426, "13"))
    with Peer(e.port) as p:
        p.send(get("/hello") + get("/ws", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: eA==",
                                   "Sec-WebSocket-Version: 13"))
        odto.equal(p.response()[0], 200)
        odto.equal(p.response()[0], 426, "an upgrade on a used connection")
        odto.check(p.closed(), "closed, so that the client takes a new one")


@suite.test("subprotocols")
def _(e):
    for offered, chosen in (("odto.pty.v1", "odto.pty.v1"), ("x, other.v2", "other.v2"), ("other.v2,x", "other.v2")):
        w, hello = greeted(e, "/ws", "Sec-WebSocket-Protocol: " + offered)
        odto.equal((hello["subprotocol"], w.headers["sec-websocket-protocol"]), (chosen, chosen))
        w.close()


@suite.test("a handshake in pieces, and data right behind it")
def _(e):
    with Peer(e.port) as p:
        for b in get("/ws", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: eA==",
                     "Sec-WebSocket-Version: 13"):
            p.send(b)
        odto.equal(p.head()[0], 101)
    w = WebSocket.__new__(WebSocket)
    w.peer = Peer(e.port)
    w.peer.send(get("/ws", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: eA==",
                    "Sec-WebSocket-Version: 13").encode() + b"\x81\x82\0\0\0\0hi")
    w.status, w.headers = w.peer.head()
    w.receive()
    odto.equal(w.receive(), (TEXT, b"hi"))
    w.close()


@suite.test("messages: small, empty, large, fragmented, with control frames between")
def _(e):
    w, _ = greeted(e)
    for kind, data in ((TEXT, b"hello"), (BINARY, bytes(range(256))), (TEXT, b""), (BINARY, b"x" * 65536),
                       (BINARY, bytes(i % 251 for i in range(256 * 1024)))):
        w.send(data, kind)
        odto.equal(w.receive(), (kind, data), f"{len(data)} bytes")
    frames = [w.encoded("ab", TEXT, fin=False), w.encoded("?", PING), w.encoded("cd", 0, fin=False), w.encoded("ef", 0)]
    for pieces in (frames, [b"".join(frames)]):
        for piece in pieces:
            w.peer.send(piece)
        odto.equal(w.receive(), (PONG, b"?"))
        odto.equal(w.receive(), (TEXT, b"abcdef"))
    w.close()


@suite.test("order is kept over many messages of all sizes")
def _(e):
    w, _ = greeted(e)
    sizes = [(i * 7919) % 3000 for i in range(500)]

    def sender():
        for i, n in enumerate(sizes):
            w.send(i.to_bytes(4, "big") + b"z" * n, BINARY)
    t = threading.Thread(target=sender)
    t.start()
    for i, n in enumerate(sizes):
        kind, data = w.receive()
        odto.equal((kind, int.from_bytes(data[:4], "big"), len(data)), (BINARY, i, n + 4))
    t.join()
    w.close()


@suite.test("over the limit: 1009; bad UTF-8: 1007; asked to close: its code")
def _(e):
    for data, kind, code in ((b"x" * (256 * 1024 + 1), BINARY, 1009), (b"\xff\xfe", TEXT, 1007), (b"close", TEXT, 4001)):
        w, _ = greeted(e)
        w.send(data, kind)
        odto.equal(w.close_code(), code)
        w.close()
    w, _ = greeted(e)
    for _ in range(20):
        try:
            w.send(b"x" * 60000, 0 if _ else BINARY, fin=False)
        except OSError:
            break
    odto.equal(w.close_code(), 1009, "by fragments")
    w.close()
    w, _ = greeted(e)
    w.send((4123).to_bytes(2, "big") + b"bye", CLOSE)
    odto.equal(w.close_code(), 4123)
    odto.wait_until(lambda: e.do("talks")[0] == 0, what="closed() was called")
    odto.equal(e.do("code")[0], 4123)


@suite.test("a peer that reads nothing: sending stops at the bound, others go on")
def _(e):
    slow, _ = greeted(e)
    slow.send("flood")
    words = e.line().split()
    odto.equal(words[0], "flood")
    odto.equal(int(words[2]), -11, "-EAGAIN")
    odto.check(int(words[3]) <= 1 << 20, "within the bound")
    w, _ = greeted(e)
    w.send("x")
    odto.equal(w.receive(), (TEXT, b"x"))
    got = 0
    while got < int(words[1]) * 65536:
        got += len(slow.receive()[1])
    slow.close()
    w.close()


@suite.test("paused reading pushes back to the sender")
def _(_):
    with Echo("ping=1000", "dead=2000") as e:
        w, _ = greeted(e)
        w.send("pause")
        w.peer.s.settimeout(0.5)
        sent = 0
        try:
            while sent < 64 << 20:
                w.send(b"x" * 65536, BINARY)
                sent += 65536
        except TimeoutError:
            pass
        odto.check(sent < 64 << 20, "the sender was held")
        w.close()
        odto.wait_until(lambda: e.do("talks")[0] == 0, what="its end is noticed by the pings")


@suite.test("a peer that disappears: closed with 1006; connections are bounded")
def _(e):
    many = [greeted(e)[0] for _ in range(50)]
    odto.equal(e.do("talks")[0], 50)
    for w in many:
        w.close()
    odto.wait_until(lambda: e.do("talks")[0] == 0, what="all closed")
    odto.equal(e.do("code")[0], 1006)


@suite.test("round trips are quick")
def _(e):
    w, _ = greeted(e)
    for text in ("k", "later"):  # answered by the WebSocket thread, by another one
        times = []
        for _ in range(300):
            began = time.perf_counter()
            w.send(text)
            odto.equal(w.receive(), (TEXT, text.encode()))
            times.append(time.perf_counter() - began)
        times.sort()
        odto.diag(f"{text}: round trip p50 {times[150] * 1e6:.0f} us, p99 {times[297] * 1e6:.0f} us")
        odto.check(times[150] < 0.005 * odto.SLOW, "median")
    w.close()


@suite.test("pings when it is quiet; who does not answer is cut")
def _(e):
    with Echo("ping=1000", "dead=3000", "maxws=2") as own:
        w, _ = greeted(own)
        odto.equal(w.receive()[0], PING)
        began = time.monotonic()
        try:
            while w.receive()[0] in (PING, CLOSE):
                pass
        except (EOFError, ConnectionError):
            pass
        odto.check(time.monotonic() - began < 10 * odto.SLOW, "cut")
        odto.wait_until(lambda: own.do("talks")[0] == 0, what="closed() was called")
        a, b = greeted(own)[0], greeted(own)[0]
        c = WebSocket(own.port)
        odto.equal(c.status, 503, "the third of two")
        for x in (a, b, c):
            x.close()


suite.main(Echo)
