#!/usr/bin/env python3
"""The web plugin in a real host: the page's files, /api to the read model, /ws to the broker, against scripted servers."""
import gzip
import os
import pathlib
import struct
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import fixture  # noqa: E402
import odto  # noqa: E402
from http_peer import BINARY, CLOSE, TEXT, Peer, WebSocket, get  # noqa: E402
from upstream import Server  # noqa: E402

odto.HOST = odto.BUILD / "odto-host"  # http_peer names its own
suite = odto.Suite()
V1 = "Sec-WebSocket-Protocol: odto.pty.v1"
# a build without npm has no page: everything else works
PAGE = any(d.joinpath("plugins/web/dist/bundle.js").exists() for d in (odto.BUILD, odto.SRC))


class Web(odto.Host):
    """A host with the web plugin alone."""

    def __init__(self, broker=None, model=None, **options):
        self.port = odto.free_port()
        keys = {"listen": f"127.0.0.1:{self.port}",
                "broker_url": f"ws://127.0.0.1:{broker or odto.free_port()}/ws",
                "read_model_url": f"http://127.0.0.1:{model or odto.free_port()}/base"}
        keys.update({k: v for k, v in options.items() if v is not None})
        super().__init__(manifest=odto.Manifest({"host": {"shutdown_timeout": "10s"}, "log": {"level": "info"}, "plugin web": keys}))
        self.web = odto.Client(self.port)

    def start(self):
        super().start()
        odto.wait_until(lambda: self.web.ready("/health") or self.process.poll() is not None, what="the page is served")
        if self.process.poll() is not None:
            raise odto.Failed("the host ended:\n" + self.log[-3000:])
        return self


def answer(status, body=b"{}", *headers, reason="X"):
    body = body if isinstance(body, bytes) else body.encode()
    return f"HTTP/1.1 {status} {reason}\r\nContent-Length: {len(body)}\r\n".encode() + \
        "".join(h + "\r\n" for h in headers).encode() + b"\r\n" + body


# ---- the page ------------------------------------------------------------------------------------

def need_page():
    if not PAGE:
        raise odto.Skip("this build has no page (no Node.js with npm)")


@suite.test("files: types, policy, tags, compression, HEAD, what may be cached")
def _(w):
    need_page()
    r = w.web.get("/")
    odto.equal((r.status, r.header("Content-Type"), r.header("Content-Encoding")), (200, "text/html; charset=utf-8", None))
    policy = r.header("Content-Security-Policy")
    for part in ("default-src 'self'", "frame-ancestors 'none'", "object-src 'none'", "base-uri 'none'"):
        odto.contains(policy, part)
    odto.check("unsafe" not in policy and "http" not in policy and "*" not in policy, "a strict policy")
    odto.equal((r.header("X-Content-Type-Options"), r.header("Cache-Control")), ("nosniff", "no-cache"))
    page = r.text
    odto.contains(page, "<title>📡 Distributed Task Observatory</title>")
    scripts = odto.re.findall(r"<script[^>]*src=\"([^\"]+)\"", page)
    odto.equal(len(scripts), 1, "scripts")
    odto.check("bundle" in scripts[0] and page.count("<script") == 1 and " style=" not in page and "<style" not in page, "no inline")
    odto.check(not odto.re.search(r"(src|href)=\"(https?:)?//", page), "nothing from elsewhere")
    r = w.web.get("/" + scripts[0])
    odto.equal((r.status, r.header("Content-Type")), (200, "text/javascript; charset=utf-8"))
    odto.contains(r.header("Cache-Control"), "immutable")
    odto.equal(w.web.get("/bundle.js?v=0").header("Cache-Control"), "no-cache", "another version than ours")
    plain = r.body
    z = w.web.get("/bundle.js", Accept_Encoding="deflate, gzip;q=0.5")
    odto.equal((z.header("Content-Encoding"), gzip.decompress(z.body) == plain), ("gzip", True))
    odto.equal(w.web.get("/bundle.js", Accept_Encoding="gzip, br").header("Content-Encoding"), "br")
    for refused in ("gzip;q=0, br;q=0", "identity", "*;q=0", "gzipped", "br;q=0.000"):
        odto.equal(w.web.get("/bundle.js", Accept_Encoding=refused).header("Content-Encoding"), None, refused)
    odto.equal(w.web.get("/bundle.js", Accept_Encoding="*").header("Content-Encoding"), "br")
    head = w.web.request("HEAD", "/bundle.js", headers={"Accept-Encoding": "gzip"})
    odto.equal((head.status, head.header("Content-Length"), head.body), (200, str(len(z.body)), b""))


@suite.test("files: not modified, and each coding has its own tag")
def _(w):
    need_page()
    tags = {e: w.web.get("/bundle.js", Accept_Encoding=e).header("ETag") for e in ("identity", "gzip", "br")}
    odto.equal(len(set(tags.values())), 3, "tags")
    for e, tag in tags.items():
        r = w.web.get("/bundle.js", Accept_Encoding=e, If_None_Match=f'"x", W/{tag}')
        odto.equal((r.status, r.body, r.header("ETag")), (304, b"", tag))
        odto.equal(w.web.get("/bundle.js", Accept_Encoding=e, If_None_Match='"x"').status, 200)
    odto.equal(w.web.get("/bundle.js", Accept_Encoding="br", If_None_Match=tags["gzip"]).status, 200, "another coding")


@suite.test("what there is not: 404, 405, no way out of the page")
def _(w):
    odto.equal(w.web.get("/health").text, "ok")
    for path in ("/nothing", "/bundle.js/x", "/index.html", "/files.list", "/..%2f..%2fetc/passwd", "/%2e%2e/etc/passwd"):
        odto.check(w.web.get(path).status in (400, 404), path)
    for path in ("/../../etc/passwd", "/x/../bundle.js", "//etc/passwd", "/bundle.js%00.txt"):
        with Peer(w.port) as p:
            p.send(get(path))
            odto.check(p.response()[0] in (400, 404), path)
    r = w.web.post("/bundle.js" if PAGE else "/", {})
    odto.equal((r.status, "GET" in r.header("Allow")), (405, True))
    odto.equal(w.web.get("/ws").status, 426)


# ---- /api ----------------------------------------------------------------------------------------

@suite.test("/api: prefix off, query and headers along, answers as they are")
def _(w):
    seen = []

    def serve(c):
        path = c.head().split()[1]
        seen.append((path, c.headers))
        if path.startswith("/base/chunked"):
            c.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
        elif path == "/base/until-closed":
            c.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + "x" * 100000)
        elif path == "/base/empty":
            c.send("HTTP/1.1 204 No Content\r\n\r\n")
        elif path == "/base/away":
            c.send("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
        else:
            c.send(answer(503 if "busy" in path else 404 if "none" in path else 200, b'{"n":1}', "Content-Type: application/json; x=1",
                          'ETag: "t"', "Retry-After: 7", "Cache-Control: no-store", "Set-Cookie: a=b", "X-Other: 1"))
    with Server(serve) as s, Web(model=s.port) as h:
        mine = "7d444840-9dc0-11d1-b245-5ffdce74fad2"
        r = h.web.get("/api/jobs?status=a%20b&x=1", Authorization="Bearer abc", X_Correlation_Id=mine, Cookie="odto_auth=secret",
                      X_Forwarded_For="1.2.3.4", Accept="text/x")
        odto.equal((r.status, r.json, r.header("ETag"), r.header("Content-Type")), (200, {"n": 1}, '"t"', "application/json; x=1"))
        odto.equal((r.header("Set-Cookie"), r.header("X-Other"), r.header("X-Correlation-Id")), (None, None, mine))
        path, headers = seen[-1]
        odto.equal((path, headers["authorization"], headers["x-correlation-id"], headers["accept"], headers["x-forwarded-for"]),
                   ("/base/jobs?status=a%20b&x=1", "Bearer abc", mine, "text/x", "127.0.0.1"))
        odto.equal((headers["host"], headers.get("cookie")), (f"127.0.0.1:{s.port}", None))
        odto.equal(h.web.get("/api/chunked").text, "abcdefg")
        odto.equal(len(h.web.get("/api/until-closed").text), 100000)
        odto.equal(h.web.get("/api/empty").status, 204)
        odto.equal(h.web.get("/api/away").status, 302, "a redirection is not followed")
        r = h.web.get("/api/busy")
        odto.equal((r.status, r.header("Retry-After")), (503, "7"))
        odto.equal(h.web.get("/api/none").status, 404)
        odto.equal(h.web.request("HEAD", "/api/jobs").header("Content-Length"), "7")
        odto.equal(h.web.post("/api/jobs", {}).status, 405)
        odto.check("Bearer abc" not in h.log and "secret" not in h.log, "no secret in the log")


@suite.test("/api: many at once")
def _(w):
    def serve(c):
        path = c.head().split()[1]
        c.send(answer(200, path + "x" * 20000))
    with Server(serve) as s, Web(model=s.port) as h:
        wrong = []

        def client(k):
            for i in range(25):
                r = h.web.get(f"/api/{k}/{i}")
                if (r.status, r.text) != (200, f"/base/{k}/{i}" + "x" * 20000):
                    wrong.append(r)
        threads = [threading.Thread(target=client, args=(k,)) for k in range(8)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        odto.equal(wrong, [])


@suite.test("/api: the read model away, silent, broken, slow, too long")
def _(w):
    r = w.web.get("/api/stats")
    odto.equal((r.status, r.json["error"]), (502, "Read model unavailable"))
    odto.contains(r.json["details"][0]["message"], "option read_model_url")
    hold = threading.Event()

    def serve(c):
        path = c.head().split()[1]
        if path == "/base/silent":
            return
        if path == "/base/broken":
            c.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
        elif path == "/base/garbage":
            c.send("hello?\r\n\r\n")
        elif path == "/base/slow":
            hold.wait(20 * odto.SLOW)
        elif path == "/base/slow-body":
            c.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
            hold.wait(20 * odto.SLOW)
        elif path == "/base/long":
            c.send(answer(200, b"x" * 5000))
        else:
            c.send(answer(200))
    with Server(serve) as s, Web(model=s.port, api_timeout="1s", api_body="4k", max_requests="4") as h:
        for path, status in (("silent", 502), ("broken", 502), ("garbage", 502), ("long", 502), ("slow-body", 504)):
            r = h.web.get("/api/" + path)
            odto.equal((r.status, r.json["error"]), (status, "Read model timeout" if status == 504 else "Read model unavailable"), path)
        # one that hangs is answered in time and holds up nobody
        late = []
        threads = [threading.Thread(target=lambda: late.append(h.web.get("/api/slow").status)) for _ in range(3)]
        [t.start() for t in threads]
        odto.wait_until(lambda: sum(c.line.startswith("GET /base/slow ") for c in s.open) == 3, what="three are under way")
        odto.equal(h.web.get("/api/quick").status, 200)
        [t.join() for t in threads]
        odto.equal(late, [504] * 3)
        hold.set()


@suite.test("/api: too many at once, and what is under way when the host stops")
def _(w):
    hold = threading.Event()

    def serve(c):
        c.head()
        hold.wait(20 * odto.SLOW)
        c.send(answer(200))
    with Server(serve) as s, Web(model=s.port, max_requests="2") as h:
        got = []
        threads = [threading.Thread(target=lambda: got.append(h.web.get("/api/x").status)) for _ in range(2)]
        [t.start() for t in threads]
        odto.wait_until(lambda: sum(bool(c.line) for c in s.open) == 2, what="two are under way")
        r = h.web.get("/api/x")
        odto.equal((r.status, r.header("Retry-After")), (503, "1"))
        hold.set()
        [t.join() for t in threads]
        odto.equal(got, [200, 200])


@suite.test("/api: a stream of events passes as it comes, and ends on either side")
def _(w):
    go, left = threading.Event(), threading.Event()

    def serve(c):
        c.head()
        seen.append(c.headers.get("last-event-id"))
        c.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")

        def event(text):
            c.send(f"{len(text):x}\r\n{text}\r\n")
        event("id: 1\ndata: one\n\n")
        go.wait(20 * odto.SLOW)
        event("id: 2\ndata: two\n\n")
        if seen[-1] == "end":
            c.send("0\r\n\r\n")
            return
        while c.s.recv(100):
            pass
        left.set()
    seen = []
    with Server(serve) as s, Web(model=s.port, api_timeout="1s") as h:
        e = odto.EventStream(h.web, "/api/events/stream", Last_Event_ID="5")
        odto.equal((e.status, e.next()), (200, ("1", "one")))
        go.set()
        odto.equal(e.next(), ("2", "two"))
        odto.equal(seen, ["5"])
        e.close()
        odto.check(left.wait(10 * odto.SLOW), "the read model sees the client leave")
        e = odto.EventStream(h.web, "/api/events/stream", Last_Event_ID="end")
        odto.equal([e.next(), e.next(), e.next()], [("1", "one"), ("2", "two"), None])
        e.close()


# ---- /ws -----------------------------------------------------------------------------------------

class Broker(Server):
    """Echoes; what it saw of each handshake is in seen. Commands in text messages: close CODE, flood N."""

    def __init__(self, subprotocol=True, port=0):
        self.seen, self.subprotocol, self.codes = [], subprotocol, []
        super().__init__(self.talk, port)

    def talk(self, c):
        c.head()
        self.seen.append((c.line.split()[1], c.headers))
        offered = c.headers.get("sec-websocket-protocol")
        c.upgrade(offered if self.subprotocol else None)
        while True:
            kind, data = c.receive()
            if kind == CLOSE:
                self.codes.append(struct.unpack(">H", data[:2])[0] if data else 1005)
                c.frame(data, CLOSE)
                return
            if data.startswith(b"close "):
                c.frame(struct.pack(">H", int(data[6:])) + b"as asked", CLOSE)
                return
            if data.startswith(b"flood "):
                for i in range(int(data[6:])):
                    c.frame(i.to_bytes(4, "big") + b"z" * 32764, BINARY)
                c.frame("done", TEXT)
            elif data == b"pieces":
                c.frame("ab", TEXT, fin=False)
                c.frame("", 9)
                c.frame("cd", 0, fin=False)
                c.frame("ef", 0)
            elif data == b"break":
                return
            elif kind in (TEXT, BINARY):
                c.frame(data, kind)


@suite.test("/ws: what the broker gets to know")
def _(w):
    with Broker() as b, Web(broker=b.port) as h:
        s = WebSocket(h.port, "/ws?session=a%20b&token=t", V1, "Origin: http://t", "Authorization: Bearer tok", "Cookie: x=1; odto_auth=other",
                      "X-Forwarded-For: 9.9.9.9", "X-Correlation-Id: 7d444840-9dc0-11d1-b245-5ffdce74fad2")
        odto.equal((s.status, s.headers["sec-websocket-protocol"]), (101, "odto.pty.v1"))
        s.send("x")
        odto.equal(s.receive(), (TEXT, b"x"))
        path, headers = b.seen[-1]
        odto.equal(path, "/ws?session=a%20b&token=t")
        odto.equal({k: headers.get(k) for k in ("host", "origin", "authorization", "x-forwarded-for", "sec-websocket-protocol", "cookie")},
                   {"host": "t", "origin": "http://t", "authorization": "Bearer tok", "x-forwarded-for": "127.0.0.1",
                    "sec-websocket-protocol": "odto.pty.v1", "cookie": None})
        odto.equal(headers["x-correlation-id"], "7d444840-9dc0-11d1-b245-5ffdce74fad2")
        s.close()
        s = WebSocket(h.port, "/ws")
        s.send("x")
        s.receive()
        path, headers = b.seen[-1]
        odto.equal((s.headers.get("sec-websocket-protocol"), headers.get("sec-websocket-protocol"), headers.get("origin")), (None, None, None))
        s.close()


@suite.test("/ws: messages both ways, of every size, whole and in order")
def _(w):
    with Broker() as b, Web(broker=b.port) as h:
        s = WebSocket(h.port, "/ws", V1)
        for data, kind in ((b"", TEXT), (b"a", TEXT), (bytes(range(256)), BINARY), (b"q" * 70000, BINARY), ("é😀".encode() * 20000, TEXT)):
            s.send(data, kind)
            odto.equal(s.receive(), (kind, data), f"{len(data)} bytes")
        s.send("ab", TEXT, fin=False)
        s.send("cd", 0)
        odto.equal(s.receive(), (TEXT, b"abcd"))
        s.send("pieces")
        odto.equal(s.receive(), (TEXT, b"abcdef"))
        for i in range(500):
            s.send(f"{i}")
        odto.equal([s.receive()[1] for _ in range(500)], [b"%d" % i for i in range(500)])
        s.send(b"x" * (256 * 1024 + 1), BINARY)
        odto.equal(s.close_code(), 1009)
        s.close()


@suite.test("/ws: who does not read is waited for, both ways, and nothing is lost")
def _(w):
    with Broker() as b, Web(broker=b.port) as h:
        pid = h.process.pid
        slow, other = WebSocket(h.port, "/ws", V1), WebSocket(h.port, "/ws", V1)
        before = rss(pid)
        slow.send("flood 2000")  # 64 MiB, more than all the buffers on the way
        for _ in range(50):
            other.send("x")
            odto.equal(other.receive(), (TEXT, b"x"), "others go on")
        bounded(pid, before, 24)
        for i in range(2000):
            odto.equal(slow.receive()[1][:4], i.to_bytes(4, "big"))
        odto.equal(slow.receive(), (TEXT, b"done"))
        slow.close()
        other.close()


def rss(pid):
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def bounded(pid, before, mib):
    """What waits is bounded. A sanitizer keeps what was freed."""
    grown = rss(pid) - before
    if not fixture.SANITIZED:
        odto.check(grown < mib << 20, f"memory grew by {grown >> 20} MiB")


@suite.test("/ws: a broker that does not read stops the browser, not the host")
def _(w):
    go = threading.Event()
    got = []

    def serve(c):
        c.head()
        c.upgrade()
        go.wait(20 * odto.SLOW)
        while len(got) < 400:
            got.append(len(c.receive()[1]))
        c.frame("all")
        c.receive()
    with Server(serve) as s, Web(broker=s.port) as h:
        before = rss(h.process.pid)
        ws = WebSocket(h.port, "/ws")
        t = threading.Thread(target=lambda: [ws.send(b"y" * 65536, BINARY) for _ in range(400)])
        t.start()
        odto.equal([h.web.get("/health").status for _ in range(20)], [200] * 20)
        bounded(h.process.pid, before, 16)
        go.set()
        t.join()
        odto.equal(ws.receive(), (TEXT, b"all"))
        odto.equal(set(got), {65536})
        ws.close()


@suite.test("/ws: either end closes, the other is told")
def _(w):
    with Broker() as b, Web(broker=b.port) as h:
        for code in (1000, 1008, 4001):
            s = WebSocket(h.port, "/ws")
            s.send(f"close {code}")
            odto.equal(s.close_code(), code)
            s.close()
        s = WebSocket(h.port, "/ws")
        s.send("break")
        odto.equal(s.close_code(), 1014, "a connection that broke")
        s.close()
        s = WebSocket(h.port, "/ws")
        s.send("x")
        s.receive()
        s.send((4000).to_bytes(2, "big") + b"bye", CLOSE)
        odto.wait_until(lambda: 4000 in b.codes, what="the broker sees the code")
        s.close()
        s = WebSocket(h.port, "/ws")
        s.send("x")
        s.receive()
        n = len(b.codes)
        s.close()  # without a word
        odto.wait_until(lambda: len(b.codes) > n or all(c.s.fileno() < 0 for c in b.open), what="the broker sees the end")
        odto.wait_until(lambda: h.web.metrics()['web_terminals_active{plugin="web"}'] == 0 if 'web_terminals_active{plugin="web"}' in h.web.metrics()
                        else h.web.metrics()["web_terminals_active"] == 0, what="no terminal is left")


@suite.test("/ws: a broker that is away, refuses, says nonsense, or comes back")
def _(w):
    s = WebSocket(w.port, "/ws", V1)
    odto.equal((s.status, s.close_code()), (101, 1014))
    s.close()

    def serve(c):
        c.head()
        c.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n" if "no" in c.line else "what?\r\n\r\n")
    with Server(serve) as b, Web(broker=b.port) as h:
        for q in ("?no", "?x"):
            s = WebSocket(h.port, "/ws" + q)
            odto.equal(s.close_code(), 1014, q)
            s.close()
        odto.contains(h.log, "it refuses with status 403: see its allowed_hosts")
        port = b.port
    b = Broker()
    with Web(broker=b.port) as h:
        port = b.port
        b.close()
        s = WebSocket(h.port, "/ws")
        odto.equal(s.close_code(), 1014)
        s.close()
        with Broker(port=port):
            s = WebSocket(h.port, "/ws")
            s.send("back")
            odto.equal(s.receive(), (TEXT, b"back"))
            s.close()


@suite.test("/ws: a broker without odto.pty.v1 is reported as such")
def _(w):
    with Broker(subprotocol=False) as b, Web(broker=b.port) as h:
        s = WebSocket(h.port, "/ws", V1)
        odto.equal(s.close_code(), 4406)
        s.close()
        s = WebSocket(h.port, "/ws")
        s.send("plain")
        odto.equal(s.receive(), (TEXT, b"plain"))
        s.close()


@suite.test("/ws: foreign pages are refused, listed ones are not; too many are refused")
def _(w):
    with Broker() as b, Web(broker=b.port, origins="https://odto.example.org", trusted_proxies="127.0.0.1", max_terminals="2") as h:
        def status(*headers, host="localhost:8081"):
            with Peer(h.port) as p:
                p.send(f"GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       "Sec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n" + "".join(x + "\r\n" for x in headers) + "\r\n")
                return p.head()[0]
        for origin, host, want in (("http://localhost:8081", "localhost:8081", 101), ("http://evil.example", "localhost:8081", 403),
                                   ("null", "localhost:8081", 403), ("http://localhost:8082", "localhost:8081", 403),
                                   ("http://evil.example:8081", "evil.example:8081", 403),  # a name made to resolve to us
                                   ("https://odto.example.org", "odto.example.org", 101), ("http://web:8081", "web:8081", 101),
                                   ("http://127.0.0.1:8081", "127.0.0.1:8081", 101), ("http://[::1]:8081", "[::1]:8081", 101),
                                   ("http://x.localhost", "x.localhost", 101), ("http://127.0.0.1.evil.example", "127.0.0.1.evil.example", 403)):
            odto.wait_until(lambda: active(h) == 0, what="the last one has left")
            odto.equal(status("Origin: " + origin, host=host), want, origin)
        odto.wait_until(lambda: active(h) == 0, what="the last one has left")
        held = [WebSocket(h.port, "/ws", "X-Forwarded-For: 10.1.2.3") for _ in range(2)]
        odto.equal(WebSocket(h.port, "/ws").status, 503)
        odto.wait_until(lambda: len(b.seen) and b.seen[-1][1].get("x-forwarded-for") == "10.1.2.3, 127.0.0.1", what="the address from a trusted proxy")
        [s.close() for s in held]


def active(h):
    return sum(v for k, v in h.web.metrics().items() if k.startswith("web_terminals_active"))


@suite.test("login: the token goes into a cookie for /ws, and from there to the broker")
def _(w):
    with Broker() as b, Web(broker=b.port) as h:
        r = h.web.request("POST", "/login", headers={"Authorization": "Bearer s3cret.-_~", "Origin": h.web.url})
        odto.equal((r.status, r.body), (204, b""))
        cookie = r.header("Set-Cookie")
        odto.equal(sorted(cookie.split("; ")), sorted(["odto_auth=s3cret.-_~", "Path=/ws", "HttpOnly", "SameSite=Strict"]))
        r = h.web.request("POST", "/login", headers={"Authorization": "Bearer t", "X-Forwarded-Proto": "https"})
        odto.contains(r.header("Set-Cookie"), "Secure")
        s = WebSocket(h.port, "/ws", "Cookie: a=b; odto_auth=s3cret.-_~; c=d")
        s.send("x")
        s.receive()
        odto.equal(b.seen[-1][1].get("authorization"), "Bearer s3cret.-_~")
        s.close()
        for headers in ({}, {"Authorization": "Basic x"}, {"Authorization": "Bearer a;b"}, {"Authorization": "Bearer a b"},
                        {"Authorization": "Bearer " + "x" * 600}):
            odto.equal(h.web.request("POST", "/login", headers=headers).status, 400, str(headers)[:60])
        odto.equal(h.web.request("POST", "/login", headers={"Authorization": "Bearer t", "Origin": "http://evil.example"}).status, 403)
        odto.contains(h.web.request("POST", "/logout").header("Set-Cookie"), "Max-Age=0")
        odto.check("s3cret" not in h.log, "no token in the log")


# ---- life ----------------------------------------------------------------------------------------

@suite.test("a reload of the plugin: terminals come again, requests do not fail")
def _(w):
    with Broker() as b, Server(lambda c: (c.head(), c.send(answer(200)))) as m, Web(broker=b.port, model=m.port) as h:
        s = WebSocket(h.port, "/ws")
        s.send("x")
        s.receive()
        stop, bad = threading.Event(), []

        def load():
            while not stop.is_set():
                r = h.web.get("/api/x")
                if r.status != 200:
                    bad.append(r)
        t = threading.Thread(target=load)
        t.start()
        h.manifest["plugin web"]["max_terminals"] = "7"
        h.write()
        r = h.odto("reload")
        odto.equal(r.returncode, 0, r.stdout + r.stderr)
        odto.contains(r.stdout, "reloaded")
        stop.set()
        t.join()
        odto.equal(bad, [])
        odto.equal(s.close_code(), 1012)
        s = WebSocket(h.port, "/ws")
        s.send("again")
        odto.equal(s.receive(), (TEXT, b"again"))
        s.close()


@suite.test("settings that can't be are refused with a place and a hint")
def _(w):
    for key, value in (("broker_url", "wss://x/ws"), ("broker_url", "ws://"), ("broker_url", "ws://x:99999/"), ("read_model_url", "https://x"),
                       ("broker_url", "ws://u@x/"), ("broker_url", "ws://[::1/ws")):
        h = Web(**{key: value})
        h.write()
        r = odto.subprocess.run([str(odto.HOST), "-c", str(h.file), "--check"], capture_output=True, text=True)
        h.cleanup()
        odto.equal(r.returncode, 78, value)
        odto.matches(r.stderr, rf"odto\.ini:\d+:\d+: error: .*{key}")
    for value in ("ws://[::1]:9000/ws", "ws://broker.internal", "ws://localhost:1/"):
        h = Web(broker_url=value)
        h.write()
        r = odto.subprocess.run([str(odto.HOST), "-c", str(h.file), "--check"], capture_output=True, text=True)
        h.cleanup()
        odto.equal(r.returncode, 0, r.stderr)


@suite.test("upstreams given by name are looked up aside; a name that is none says so")
def _(w):
    with Server(lambda c: (c.head(), c.send(answer(200)))) as m:
        with Web(read_model_url=f"http://localhost:{m.port}", broker_url="ws://no-such-name.invalid:1/") as h:
            odto.equal(h.web.get("/api/x").status, 200)
            s = WebSocket(h.port, "/ws")
            odto.equal(s.close_code(), 1014)
            s.close()
            odto.wait_until(lambda: "can't look up no-such-name.invalid" in h.log, what="the log says why")


if __name__ == "__main__":
    suite.main(Web)
