"""Replacing an owner under load: requests wait, change hands, and none fails."""
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import odto  # noqa: E402
from http_peer import Echo, Peer, WebSocket, get  # noqa: E402

suite = odto.Suite()
POST = "POST /async HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{}"


@suite.test("behind a gate requests wait, health answers; then they are served in order")
def _():
    with Echo() as e:
        e.do("gate on")
        peers = [Peer(e.port) for _ in range(20)]
        for p in peers:
            p.send(get("/generation"))
        odto.equal(e.client.get("/livez").status, 200, "built-in routes go on")
        odto.equal(e.do("inflight")[0], 0, "nothing reaches the owner")
        e.do("gate off")
        for p in peers:
            odto.equal(p.response()[2], b'{"generation":0}')
            p.close()


@suite.test("who waits too long, or is one too many, gets 503 with Retry-After")
def _():
    with Echo("gate=300", "gateq=5") as e:
        e.do("gate on")
        peers = [Peer(e.port) for _ in range(8)]
        for p in peers:
            p.send(get("/generation"))
        results = [p.response() for p in peers]
        odto.check(all(r[0] == 503 and r[1]["retry-after"] == "1" for r in results), results)
        texts = [odto.json.loads(r[2])["details"][0]["message"] for r in results]
        odto.equal(sorted((texts.count("the service is being replaced"),
                           texts.count("the service did not come back in time"))), [3, 5])
        e.do("gate off")
        for p in peers:
            p.send(get("/generation"))
            odto.equal(p.response()[0], 200, "the connections live on")
            p.close()


def swap(e, number):
    """The reload of http.h: the old one stops before the new one starts."""
    odto.equal(e.do("gate on")[0], 0)
    odto.equal(e.do("drained 5000")[0], 0, "drained")
    odto.equal(e.do("stage")[0], 0)
    odto.equal(e.do("serve"), (0, ""))
    odto.equal(e.do("handover")[0], 0)
    odto.equal(e.do("unserve old 5000")[0], 0, f"unserve {number}")


@suite.test("40 swaps under load: no failed request, no refused connection, generations only rise")
def _():
    with Echo("threads=2") as e:
        stop, failed, counts = threading.Event(), [], [0] * 9

        def keep_alive(i, text, want):
            last, p = 0, Peer(e.port)
            while not stop.is_set():
                p.send(text)
                status, _, body = p.response()
                if status != want:
                    failed.append((status, body))
                if want == 200:
                    generation = odto.json.loads(body)["generation"]
                    if generation < last:
                        failed.append(f"generation {generation} after {last}")
                    last = generation
                counts[i] += 1
            p.close()

        def fresh(i):
            while not stop.is_set():
                r = e.client.get("/generation")
                if r.status != 200:
                    failed.append(r)
                counts[i] += 1

        def guarded(fn, *args):
            try:
                fn(*args)
            except Exception as x:  # noqa: BLE001
                failed.append(repr(x))
        threads = [threading.Thread(target=guarded, args=(keep_alive, i, get("/generation"), 200)) for i in range(4)]
        threads += [threading.Thread(target=guarded, args=(keep_alive, i, POST, 202)) for i in range(4, 7)]
        threads += [threading.Thread(target=guarded, args=(fresh, i)) for i in range(7, 9)]
        for t in threads:
            t.start()
        for n in range(40):
            before = sum(counts)
            swap(e, n)
            odto.wait_until(lambda: sum(counts) > before + 20 or failed, what="requests between two swaps")
        stop.set()
        for t in threads:
            t.join()
        odto.equal(failed[:5], [], "failures")
        odto.equal(e.client.get("/generation").json, {"generation": 40})
        odto.diag(f"{sum(counts)} requests over 40 swaps")


@suite.test("a successor that fails to start: the old one goes on")
def _():
    with Echo() as e:
        e.do("gate on")
        p = Peer(e.port)
        p.send(get("/generation"))
        e.do("stage")
        odto.equal(e.do("serve")[0], 0)
        odto.equal(e.do("unserve new 1000")[0], 0)
        e.do("gate off")
        odto.equal(p.response()[2], b'{"generation":0}')
        p.close()


@suite.test("routes that clash are refused, and say with whom")
def _():
    with Echo() as e:
        number, text = e.do("clash")
        odto.check(number < 0, text)
        odto.contains(text, "GET /hello on 127.0.0.1:0 is already served: echo has it")
        odto.equal(e.client.get("/hello").status, 200)


@suite.test("unserve waits for what is in hand; afterwards the address answers 503")
def _():
    with Echo() as e, Peer(e.port) as p:
        p.send(get("/slow?ms=300"))
        odto.wait_until(lambda: e.do("inflight")[0] == 1, what="in hand")
        odto.equal(e.do("unserve new 5000")[0], 0)
        odto.equal(p.response()[0], 200)
        for path in ("/hello", "/nothing"):
            p.send(get(path))
            status, headers, _ = p.response()
            odto.equal((status, headers["retry-after"]), (503, "1"))
        p.send(get("/readyz"))
        status, _, body = p.response()
        odto.equal((status, odto.json.loads(body)["reason"]), (503, "no service is running on this address"))
        odto.equal(e.do("prune")[0], 1)
        try:
            Peer(e.port)
            raise odto.Failed("still listening")
        except ConnectionRefusedError:
            pass


@suite.test("requests an owner never answers: 503 at the deadline, its late answer is dropped")
def _():
    with Echo() as e:
        e.do("hold on")
        peers = [Peer(e.port) for _ in range(5)]
        for p in peers:
            p.send(POST)
        odto.wait_until(lambda: e.do("inflight")[0] == 5, what="five in hand")
        odto.check(e.do("drained 100")[0] < 0, "not drained")
        odto.equal(e.do("unserve new 200")[0], 0)
        for p in peers:
            odto.equal(p.response()[0], 503)
        e.do("hold off")
        for p in peers:
            p.send(get("/livez"))
            odto.equal(p.response()[0], 200, "the connection lives on")
            p.close()


@suite.test("unserve ends streams and closes WebSockets with 1012")
def _():
    with Echo() as e:
        s = odto.EventStream(e.client, "/stream")
        s.next()
        w = WebSocket(e.port)
        w.receive()
        began = time.monotonic()
        odto.equal(e.do("unserve new 5000")[0], 0)
        odto.check(time.monotonic() - began < 3 * odto.SLOW, "at once")
        odto.equal(e.do("feeds")[0], 0)
        odto.equal(e.do("talks")[0], 0)
        odto.equal(w.close_code(), 1012)
        w.close()
        s.close()


@suite.test("a gate ends streams and WebSockets; who comes again waits for the successor")
def _():
    with Echo() as e:
        s, w = odto.EventStream(e.client, "/stream"), WebSocket(e.port)
        s.next()
        w.receive()
        e.do("gate on")
        odto.equal(e.do("drained 5000")[0], 0)
        odto.equal(e.do("talks")[0], 0)
        odto.equal(e.do("feeds")[0], 0)
        odto.equal(w.close_code(), 1012)
        while s.next():
            pass
        got = []
        waiting = [threading.Thread(target=lambda: got.append(odto.EventStream(e.client, "/stream?n=1").next())),
                   threading.Thread(target=lambda: got.append(odto.json.loads(WebSocket(e.port).receive()[1])))]
        for t in waiting:
            t.start()
        e.do("stage")
        odto.equal(e.do("serve"), (0, ""))
        odto.equal(got, [], "both wait")
        e.do("handover")
        for t in waiting:
            t.join()
        odto.check(("0", '{"n":0}') in got and any("generation" in g and g["generation"] == 1 for g in got), got)


@suite.test("a WebSocket upgrade waits at a gate and reaches the successor")
def _():
    with Echo() as e:
        e.do("gate on")
        got = []
        t = threading.Thread(target=lambda: got.append(WebSocket(e.port)))
        t.start()
        odto.equal(e.client.get("/livez").status, 200)
        e.do("stage")
        odto.equal(e.do("serve"), (0, ""))
        odto.equal(e.do("handover")[0], 0)
        odto.equal(e.do("unserve old 1000")[0], 0)
        t.join()
        odto.equal(got[0].status, 101)
        odto.equal(odto.json.loads(got[0].receive()[1])["generation"], 1)
        got[0].close()


@suite.test("stop: what is in hand is finished, idle connections and new ones are closed")
def _():
    e = Echo().start()
    busy, idle, stream, ws = Peer(e.port), Peer(e.port), odto.EventStream(e.client, "/stream"), WebSocket(e.port)
    ws.receive()
    stream.next()
    idle.send(get("/hello"))
    idle.response()
    busy.send(get("/slow?ms=400"))
    odto.wait_until(lambda: e.do("inflight")[0] == 1, what="in hand")
    e.send("quit 3000")
    status, headers, _ = busy.response()
    odto.equal((status, headers["connection"]), (200, "close"))
    odto.check(idle.closed(), "idle closed")
    odto.equal(ws.close_code(), 1001)
    odto.equal(e.stop(), 0)


@suite.test("stop at its deadline: unanswered requests get 503")
def _():
    e = Echo().start()
    e.do("hold on")
    p = Peer(e.port)
    p.send(POST)
    odto.wait_until(lambda: e.do("inflight")[0] == 1, what="in hand")
    g = Peer(e.port)
    e.do("gate on")
    g.send(get("/generation"))
    odto.equal(e.client.get("/livez").status, 200)
    e.send("quit 200")
    odto.equal(g.response()[0], 503, "a waiting one")
    odto.equal(p.response()[0], 503)
    odto.equal(e.stop(), 0)


suite.main()
