"""Limits and timeouts of the HTTP server: slow, many, large, unauthorised, from another origin, over TLS."""
import pathlib
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import odto  # noqa: E402
from http_peer import Echo, Peer, get  # noqa: E402

suite = odto.Suite()


@suite.test("headers that don't come in time are 408, whole or dribbled")
def _():
    with Echo("header=400", "idle=1200", "ws=0") as e:
        with Peer(e.port) as p:
            began = time.monotonic()
            status, headers, body = p.response()
            odto.equal((status, odto.json.loads(body)["error"]), (408, "Request Timeout"))
            odto.check("x-correlation-id" in headers, "correlation id")
            odto.check(time.monotonic() - began >= 0.4, "not too early")
            odto.check(p.closed(), "closed")
        with Peer(e.port) as p:
            p.send("GET /hello HTTP/1.1\r\n")
            try:
                for i in range(100):
                    p.send(f"X-{i}: y\r\n")
                    p.s.settimeout(0.05)
                    try:
                        if p.more():
                            break
                    except TimeoutError:
                        pass
                odto.check(i < 99, "ended while dribbling")
                odto.equal(p.response()[0], 408)
            except ConnectionError:
                pass
        with Peer(e.port) as p:  # one that has made a request may idle longer, then is closed without a word
            p.send(get("/hello"))
            p.response()
            began = time.monotonic()
            odto.check(p.closed(), "closed")
            odto.check(time.monotonic() - began >= 1.0, "not before the idle timeout")


@suite.test("the same on a listener with WebSocket routes")
def _():
    with Echo("header=400") as e:
        for text in ("", "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n"):
            with Peer(e.port) as p:
                p.send(text)
                odto.equal(p.response()[0], 408, text)
                odto.check(p.closed(), "closed")


@suite.test("a body that does not come in time is 408")
def _():
    with Echo("bodytime=400") as e, Peer(e.port) as p:
        p.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nabc")
        status, _, body = p.response()
        odto.equal((status, odto.json.loads(body)["details"][0]["message"]), (408, "the body did not come in time"))
        odto.check(p.closed(), "closed")


@suite.test("connections are bounded: the next one is 503, and one that closes makes room")
def _():
    for ws in ("ws=0", "ws=1"):
        with Echo("maxconn=10", ws) as e:
            peers = [Peer(e.port) for _ in range(10)]
            for p in peers:
                p.send(get("/hello"))
                odto.equal(p.response()[0], 200)
            with Peer(e.port) as p:
                status, headers, _ = p.response()
                odto.equal((status, headers["retry-after"]), (503, "1"))
                odto.check(p.closed(), "closed")
            peers.pop().close()
            odto.wait_until(lambda: e.client.get("/hello").status == 200, what="room again")
            for p in peers:
                p.send(get("/hello"))
                odto.equal(p.response()[0], 200, "the others go on")
                p.close()


@suite.test("1,000 idle connections don't slow the others, nor cost much memory")
def _():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2200:
        if hard < 2200:
            raise odto.Skip("the limit of open files is too low")
        resource.setrlimit(resource.RLIMIT_NOFILE, (2200, hard))
    with Echo() as e:
        idle = [Peer(e.port) for _ in range(1000)]
        for p in idle[::2]:  # half of them have made a request
            p.send(get("/hello"))
        for p in idle[::2]:
            odto.equal(p.response()[0], 200)
        c = e.client.keep()
        began = time.monotonic()
        for _ in range(200):
            odto.equal(e.client.request("GET", "/hello", connection=c).status, 200)
        odto.check(time.monotonic() - began < 3 * odto.SLOW, "200 requests in time")
        c.close()
        for p in idle:
            p.send(get("/hello"))
        for p in idle:
            odto.equal(p.response()[0], 200)
            p.close()


@suite.test("out of descriptors: it waits, and takes the connections when there are some again")
def _():
    with Echo(files=64) as e:
        peers = [Peer(e.port) for _ in range(80)]
        odto.wait_until(lambda: any("can't accept" in x for x in e.errors), what="a warning")
        waiting = peers[-1]
        waiting.send(get("/hello"))
        for p in peers[:-1]:
            p.close()
        odto.equal(waiting.response()[0], 200)
        odto.equal(e.client.get("/hello").status, 200)
        waiting.close()
        odto.check(len(e.errors) < 50, f"{len(e.errors)} warnings")


@suite.test("a client that does not take its answer is cut, and holds nobody up")
def _():
    with Echo("idle=1000", "ws=0") as e, Peer(e.port) as p:
        p.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        p.send(get("/large?n=30000000"))
        odto.wait_until(lambda: p.more(), what="it has begun")
        began = time.monotonic()
        odto.equal(e.do("unserve new 15000")[0], 0, "its memory was given back")
        odto.check(0.5 < time.monotonic() - began < 8 * odto.SLOW, "by the idle timeout")
    with Echo() as e, Peer(e.port) as p:
        p.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        p.send(get("/large?n=30000000"))
        odto.wait_until(lambda: p.more(), what="it has begun")
        odto.equal(e.do("unserve new 300")[0], 0, "at the deadline it is cut")


@suite.test("the access log says who asked what")
def _():
    with Echo("access=1") as e:
        e.client.post("/echo", b"12345")
        e.client.get("/items/x?secret=1")
        with Peer(e.port) as p:
            p.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nabc")
        want = ["access 127.0.0.1 POST /echo /echo 200 5 5", "access 127.0.0.1 GET /items/x /items/{id} 200 0 ",
                "access 127.0.0.1 POST /echo /echo 0 3 0"]
        odto.wait_until(lambda: all(any(x.startswith(w) for x in e.errors) for w in want), what=str(want))
        odto.check(not any("secret" in x for x in e.errors), "no query")


@suite.test("blocking requests beyond the workers' queue are 503 with Retry-After")
def _():
    with Echo("workers=1", "workq=2") as e:
        peers = [Peer(e.port) for _ in range(8)]
        for p in peers:
            p.send(get("/slow?ms=300"))
        results = [p.response() for p in peers]
        states = sorted(r[0] for r in results)
        odto.check(states.count(200) in (2, 3) and states.count(503) == 8 - states.count(200), states)
        odto.check(all(r[1]["retry-after"] == "1" for r in results if r[0] == 503), "Retry-After")
        for p in peers:
            p.close()


@suite.test("streams are bounded")
def _():
    with Echo("streams=2") as e:
        open_ones = [odto.EventStream(e.client, "/stream") for _ in range(2)]
        r = e.client.get("/stream")
        odto.equal((r.status, r.header("Retry-After")), (503, "5"))
        open_ones.pop().close()
        odto.wait_until(lambda: odto.EventStream(e.client, "/stream?n=1").status == 200, what="room again")
        open_ones.pop().close()


@suite.test("a stream whose client leaves while nothing is read")
def _():
    with Echo("idle=1000", "ws=0") as e, Peer(e.port) as p:
        p.send(get("/stream"))
        p.head()
        odto.equal(e.do("feeds")[0], 1)
        p.close()
        odto.wait_until(lambda: e.do("feeds")[0] == 0, what="closed")


@suite.test("the bearer token: needed, compared, health goes without")
def _():
    with Echo("token=s3cret") as e:
        r = e.client.get("/hello")
        odto.equal((r.status, r.header("WWW-Authenticate")), (401, "Bearer"))
        for bad in ("Bearer s3cre", "Bearer s3cret1", "Basic s3cret", "s3cret", "Bearer "):
            odto.equal(e.client.get("/hello", Authorization=bad).status, 401, bad)
        odto.equal(e.client.get("/hello", Authorization="bearer s3cret").status, 200)
        odto.equal(e.client.get("/healthz").status, 200)
        odto.equal(e.client.get("/metrics").status, 401)


@suite.test("another origin: CORS headers everywhere, OPTIONS is empty")
def _():
    with Echo("cors=*") as e:
        for method, path, want in (("GET", "/hello", 200), ("OPTIONS", "/hello", 200), ("GET", "/nothing", 404),
                                   ("DELETE", "/hello", 405)):
            r = e.client.request(method, path)
            odto.equal(r.status, want)
            odto.equal([r.header("Access-Control-Allow-" + k) for k in ("Origin", "Methods", "Headers")],
                       ["*", "GET, OPTIONS", "Content-Type"], path)
            if method == "OPTIONS":
                odto.equal(r.body, b"")


@suite.test("a port in use: the error says by whom")
def _():
    with Echo() as e:
        try:
            Echo(address=f"127.0.0.1:{e.port}").start()
            raise odto.Failed("two listen on one port")
        except odto.Failed as x:
            odto.contains(str(x), f"port {e.port} is in use by process {e.process.pid} (http_echo)")
    for address, text in (("nonsense", "is not HOST:PORT"), ("127.0.0.1:99999", "is not HOST:PORT"),
                          ("example.org:80", "is not an address"), ("192.0.2.1:0", "can't listen on")):
        try:
            Echo(address=address).start()
            raise odto.Failed("started on " + address)
        except odto.Failed as x:
            odto.contains(str(x), text)


@suite.test("IPv6, and two event loops")
def _():
    with Echo("threads=2", "ws=0") as e:
        peers = [Peer(e.port) for _ in range(50)]
        for _ in range(20):
            for p in peers:
                p.send("POST /async HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{}")
            for p in peers:
                odto.equal(p.response()[0], 202)
        for p in peers:
            p.close()
    try:
        with Echo(address="[::1]:0") as e:
            c = odto.Client(e.port, host="::1")
            odto.equal(c.get("/items/x").json["peer"], "::1")
    except OSError as x:
        raise odto.Skip(f"no IPv6: {x}") from None


@suite.test("TLS")
def _():
    if not shutil.which("openssl"):
        raise odto.Skip("no openssl")
    with tempfile.TemporaryDirectory() as d:
        cert, key = f"{d}/cert.pem", f"{d}/key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=DNS:localhost"], check=True, capture_output=True)
        with Echo(f"cert={cert}", f"key={key}", "ws=0") as e:
            context = ssl.create_default_context(cafile=cert)
            for _ in range(3):
                with Peer(e.port) as p:
                    p.s = context.wrap_socket(p.s, server_hostname="localhost")
                    p.send(get("/hello") + "POST /async HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{}" +
                           get("/slow?ms=10"))
                    odto.equal([p.response()[0] for _ in range(3)], [200, 202, 200])
            with Peer(e.port) as p:
                p.send(get("/hello"))
                try:
                    odto.check(b"200 OK" not in p.s.recv(1000), "plain HTTP is not answered")
                except ConnectionResetError:
                    pass
        try:
            Echo(f"cert={cert}", f"key={cert}", "ws=0").start()
            raise odto.Failed("started with a bad key")
        except odto.Failed as x:
            odto.contains(str(x), "TLS")


suite.main()
