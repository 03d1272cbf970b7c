"""Requests, good and bad, against the HTTP server alone."""
import pathlib
import re
import socket
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import odto  # noqa: E402
from http_peer import Echo, Peer, get  # noqa: E402

suite = odto.Suite()
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def error(body, text):
    odto.equal(odto.json.loads(body)["error"], text, "error")


@suite.test("GET, HEAD, parameters and queries")
def _(e):
    r = e.client.get("/items/a%2Fb%20c?x=1&q=one+two%21&q=3")
    odto.equal(r.json, {"id": "a/b c", "path": "/items/a%2Fb%20c", "q": "one two!",
                          "query": "x=1&q=one+two%21&q=3", "peer": "127.0.0.1", "agent": ""})
    odto.equal(e.client.get("/items/first").json["totalJobs"], 12345, "the literal route goes before the parameter")
    odto.equal(e.client.get("/%69tems/%7Ex").json["path"], "/items/~x", "path after normalisation")
    odto.equal(e.client.get("/items/").status, 404, "an empty parameter")
    odto.equal(e.client.get("/files/a/b/c").json["path"], "/files/a/b/c")
    with Peer(e.port) as p:
        p.send("HEAD /hello HTTP/1.1\r\nHost: t\r\n\r\n" + get("/hello"))
        status, headers, _ = p.response(head=True)
        odto.equal((status, headers["content-length"]), (200, "101"))
        odto.equal(p.response()[0], 200, "the connection goes on after HEAD")


@suite.test("correlation ids: taken, made, refused")
def _(e):
    mine = "7D444840-9dc0-11d1-b245-5ffdce74fad2"
    odto.equal(e.client.get("/hello", X_Correlation_Id=mine).header("X-Correlation-Id"), mine.lower())
    a, b = (e.client.get("/hello").header("X-Correlation-Id") for _ in range(2))
    odto.check(UUID.fullmatch(a) and UUID.fullmatch(b) and a != b, f"{a} {b}")
    for bad in ("1", "", "7d4448409dc011d1b2455ffdce74fad2", "z" * 36):
        r = e.client.get("/hello", X_Correlation_Id=bad)
        odto.equal(r.status, 400, bad)
        odto.check(UUID.fullmatch(r.header("X-Correlation-Id")), "a fresh one")
        odto.equal(r.json["details"][0]["message"], 'X-Correlation-Id must match format "uuid"')


@suite.test("404 and 405 are JSON, 405 and OPTIONS say Allow")
def _(e):
    r = e.client.get("/nothing")
    odto.equal((r.status, r.json, r.header("Content-Type")), (404, {"error": "Not Found"}, "application/json"))
    r = e.client.request("DELETE", "/items/x")
    odto.equal((r.status, r.header("Allow")), (405, "GET, HEAD, OPTIONS"))
    error(r.body, "Method Not Allowed")
    odto.equal(e.client.request("GET", "/echo").header("Allow"), "POST, OPTIONS")
    odto.equal(e.client.request("FOO", "/echo").status, 405)
    r = e.client.request("OPTIONS", "/echo")
    odto.equal((r.status, r.body, r.header("Allow")), (200, b"", "POST, OPTIONS"))


@suite.test("bodies: whole, in pieces, chunked, none")
def _(e):
    for n in (0, 1, 1000, 1500, 5000, 100 * 1024):
        body = bytes(i % 251 for i in range(n))
        odto.equal(e.client.post("/echo", body).body, body, f"echo of {n} bytes")
    with Peer(e.port) as p:
        p.send("POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        p.send("1\r\n \r\n5\r\nworld\r\n0\r\n\r\n")
        odto.equal(p.response()[2], b"hello world")
        for b in "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc":
            p.send(b)
        odto.equal(p.response()[2], b"abc", "byte by byte")


@suite.test("a body over the limit is 413, early by Content-Length, and the answer arrives")
def _(e):
    with Peer(e.port) as p:
        p.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 102401\r\n\r\n")
        status, headers, body = p.response()
        odto.equal((status, headers["connection"]), (413, "close"))
        error(body, "Payload Too Large")
        odto.check(p.closed(), "closed")
    for n in (102401, 3_000_000):  # all of it is sent before the answer is read
        with Peer(e.port) as p:
            p.send(f"POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: {n}\r\n\r\n".encode() + b"x" * n)
            odto.equal(p.response()[0], 413, f"{n} bytes")
    with Peer(e.port) as p:
        p.send("POST /echo HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 999999\r\n\r\n")
        odto.equal(p.response()[0], 413, "instead of 100")
    with Peer(e.port) as p:
        p.send("POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
        p.send(b"19064\r\n" + b"x" * 0x19064 + b"\r\n0\r\n\r\n" + get("/hello").encode())
        odto.equal(p.response()[0], 413, "chunked")
        odto.equal(p.response()[0], 200, "the connection goes on when the body has been read")
    with Peer(e.port) as p:
        p.send("POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(200):
                p.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        except OSError:
            pass
        try:
            odto.equal(p.response()[0], 413, "endless chunks")
        except (ConnectionResetError, EOFError):
            pass  # cut while sending: as good


@suite.test("a small body to a wrong path does not cost the connection")
def _(e):
    with Peer(e.port) as p:
        p.send("POST /nothing HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello" + get("/hello"))
        odto.equal([p.response()[0], p.response()[0]], [404, 200])


@suite.test("lengths that lie are 400 and end the connection")
def _(e):
    for lines in ("Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: gzip", "Content-Length: -5",
                  "Content-Length: 5x", "Content-Length: 99999999999999999999999999", "Content-Length: 0x10",
                  "Content-Length:"):
        with Peer(e.port) as p:
            p.send(f"POST /echo HTTP/1.1\r\nHost: t\r\n{lines}\r\n\r\nhello")
            try:
                status = p.response()[0]
            except EOFError:
                status = "closed"
            odto.check(status in (400, 413, "closed"), f"{lines!r}: {status}")
            odto.check(p.closed(), f"{lines!r}: closed")
    with Peer(e.port) as p:
        p.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")
        odto.equal(p.response()[0], 400, "two lengths")
        odto.check(p.closed(), "closed")


@suite.test("targets: absolute form, dots, bad escapes, blanks, no host")
def _(e):
    def status(text):
        with Peer(e.port) as p:
            p.send(text)
            return p.response()[0]
    odto.equal(status(get("http://t/hello")), 200)
    for path in ("/files/../hello", "/files/./x", "/files/%2e%2e/hello", "/files/..", "/x%zz", "/x%0", "/x%00y", "hello",
                 "/x%"):
        odto.equal(status(get(path)), 400, path)
    odto.equal(status(get("/files/..x")), 200)
    odto.equal(status("GET /hello HTTP/1.1\r\n\r\n"), 400, "no Host")
    odto.check(status("GET /a b HTTP/1.1\r\nHost: t\r\n\r\n") in (400, 404, 505), "a blank in the path")


@suite.test("headers: large ones are 431 in JSON, huge ones 431 or closed")
def _(e):
    with Peer(e.port) as p:
        p.send(get("/hello", "X-Big: " + "x" * 6500))
        status, _, body = p.response()
        odto.equal(status, 431)
        error(body, "Request Header Fields Too Large")
    for n, what in ((200_000, "X-Big: " + "x" * 200_000), (50_000, "\r\n".join(f"X-{i}: y" for i in range(5000)))):
        with Peer(e.port) as p:
            try:
                p.send(get("/hello", what))
                odto.check(p.response()[0] in (400, 413, 431), f"status for {n}")
            except (ConnectionResetError, BrokenPipeError, EOFError):
                pass
    odto.equal(e.client.get("/hello").status, 200, "and the server goes on")


@suite.test("garbage does no harm")
def _(e):
    for data in (b"\0" * 100, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xff" * 300, b"\r\n\r\n\r\n\r\n",
                 b"GET\r\n\r\n", b"GET / HTTP/9.9\r\nHost: t\r\n\r\n", b"GET /hello\r\n\r\n", b"\xff\xfe\xfd\r\n\r\n",
                 b"GET /hello HTTP/1.1\r\nHost: t\r\nNo colon here\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                 b"GET /hello HTTP/1.1\r\n Host: t\r\n\r\n", b": x\r\n\r\n"):
        with Peer(e.port) as p:
            try:
                p.send(data)
                p.s.shutdown(socket.SHUT_WR)
                while p.more():
                    pass
            except OSError:
                pass
            odto.check(b"<html" not in p.buf.lower(), f"{data!r}: {p.buf!r}")
            odto.check(b" 200 OK" not in p.buf or data.startswith(b"GET /hello"), f"{data!r}: {p.buf!r}")
    odto.equal(e.client.get("/hello").status, 200)


@suite.test("what can't be parsed is refused in JSON, with the request's correlation id where it was read")
def _(e):
    cid = odto.uuid7()
    for head, want in (("GET /hello HTTP/9.9\r\nHost: t\r\n", 505),
                       ("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 5x\r\n", 400),
                       ("POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n", 400)):
        with Peer(e.port) as p:
            p.send(f"{head}X-Correlation-Id: {cid}\r\n\r\n")
            if "chunked" in head:
                p.send("no length\r\nx")
            status, headers, body = p.response()
            odto.equal(status, want, head)
            odto.equal(headers["content-type"], "application/json")
            odto.check(odto.json.loads(body)["details"][0]["message"], "a message")
            if want == 400:
                odto.equal(headers["x-correlation-id"], cid, head)
            odto.check(p.closed(), "closed")


@suite.test("pipelined requests are answered in order, quick and late ones mixed")
def _(e):
    post = "POST /async HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{}"
    with Peer(e.port) as p:
        p.send("".join(get(f"/items/{i}") + post + get("/slow?ms=1") for i in range(20)))
        for i in range(20):
            odto.equal(odto.json.loads(p.response()[2])["id"], str(i))
            odto.equal(p.response()[0], 202)
            odto.equal(p.response()[2], b"{}")


@suite.test("a half-closed client gets its answers")
def _(e):
    for path, want in (("/hello", 200), ("/slow?ms=50", 200), ("/stream?n=3", 200)):
        with Peer(e.port) as p:
            p.send(get(path, "Connection: close"))
            p.s.shutdown(socket.SHUT_WR)
            if path.startswith("/stream"):
                odto.equal(p.head()[0], want, path)
            else:
                odto.equal(p.response()[0], want, path)


@suite.test("HTTP/1.0 is answered, and closed unless it asks otherwise")
def _(e):
    with Peer(e.port) as p:
        p.send("GET /hello HTTP/1.0\r\n\r\n")
        odto.equal(p.response()[0], 200)
        odto.check(p.closed(), "closed")
    with Peer(e.port) as p:
        p.send("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2)
        odto.equal([p.response()[0], p.response()[0]], [200, 200])


@suite.test("answers of another thread: 64 connections, 50 requests each")
def _(e):
    failed = []

    def run():
        try:
            c = e.client.keep()
            for _ in range(50):
                r = e.client.request("POST", "/async", b"{}", connection=c)
                if r.status != 202:
                    failed.append(r)
            c.close()
        except OSError as x:
            failed.append(x)
    threads = [threading.Thread(target=run) for _ in range(64)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    odto.equal(failed, [])


@suite.test("a large answer arrives whole, and its memory is given back when the client leaves")
def _(e):
    odto.equal(len(e.client.get("/large?n=20000000").body), 20_000_000)
    for _ in range(5):
        with Peer(e.port) as p:
            p.send(get("/large?n=20000000"))
            p.more()
    odto.wait_until(lambda: e.do("inflight")[0] == 0, what="all answered")


@suite.test("blocking handlers run beside each other; the event loop goes on")
def _(e):
    peers = [Peer(e.port) for _ in range(4)]
    for p in peers:
        p.send(get("/slow?ms=400"))
    odto.wait_until(lambda: e.do("inflight")[0] == 4, what="four in hand")
    odto.equal(e.client.get("/hello").status, 200)
    odto.check(e.do("inflight")[0] == 4, "the quick one overtook them")
    for p in peers:
        odto.equal(p.response()[0], 200)
        p.close()


@suite.test("streams: all events, the client leaving, an end without a client")
def _(e):
    s = odto.EventStream(e.client, "/stream?n=200")
    odto.equal((s.status, s.response.headers["Content-Type"]), (200, "text/event-stream"))
    for i in range(200):
        odto.equal(s.next(), (str(i), f'{{"n":{i}}}'))
    odto.equal(s.next(), None)
    s.close()
    with Peer(e.port) as p:
        p.send("HEAD /stream HTTP/1.1\r\nHost: t\r\n\r\n")
        odto.equal(p.head()[0], 200)
        odto.wait_until(lambda: e.do("feeds")[0] == 0, what="nothing is streamed for HEAD")
        odto.equal(p.buf, b"")
    with Peer(e.port) as p:
        p.send("GET /stream?n=3 HTTP/1.0\r\n\r\n")
        odto.equal(p.head()[0], 200)
        while p.more():
            pass
        odto.equal(p.buf.count(b"data:"), 3, "ended by the close")
    odto.wait_until(lambda: e.do("feeds")[0] == 0, what="all streams closed")
    many = [odto.EventStream(e.client, "/stream") for _ in range(20)]
    for s in many:
        s.next()
    odto.equal(e.do("feeds")[0], 20)
    for s in many:
        s.close()
    odto.wait_until(lambda: e.do("feeds")[0] == 0, what="all streams closed")


@suite.test("health, readiness, metrics of the server itself")
def _(e):
    odto.equal(e.client.get("/healthz").json, {"status": "ok", "version": "1.2.3"})
    e.do("ready no")
    for path in ("/healthz", "/readyz"):
        r = e.client.get(path)
        odto.equal((r.status, r.json), (503, {"status": "not_ready", "reason": "told so"}))
    odto.equal(e.client.get("/livez").status, 200)
    e.do("ready yes")
    odto.equal(e.client.get("/readyz").status, 200)
    r = e.client.get("/metrics")
    odto.equal(r.header("Content-Type"), "text/plain; version=0.0.4")
    m = e.client.metrics()
    key = 'http_request_duration_seconds_count{service="echo",route="/items/{id}",method="GET",code="200"}'
    before = m[key]
    e.client.get("/items/zzz")
    odto.wait_until(lambda: e.client.metrics()[key] == before + 1, what="counted under its pattern")
    odto.check('http_request_duration_seconds_count{service="echo",route="-",method="GET",code="404"}' in m, "404")


suite.main(Echo)
