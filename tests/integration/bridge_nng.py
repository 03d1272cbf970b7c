#!/usr/bin/env python3
"""The bridge nng: hosts joined without a broker; whoever is killed, nothing accepted is lost."""
import json
import os
import socket
import struct
import sys

sys.path.insert(0, __file__.rsplit("/", 2)[0] + "/lib")
import odto

suite = odto.Suite()
HELLO = bytes([0, ord("S"), ord("P"), 0, 0, 0x30, 0, 0])


def sender(*ports, more=None):
    """A gateway alone; jobs.created goes to the hosts at these ports out of a spool."""
    return odto.Host({**{s: None for s in ("plugin processor", "plugin metrics", "plugin read-model", "handler builtin")},
                      "bridge mesh": {"module": "nng", "dial": ", ".join(f"tcp://127.0.0.1:{p}" for p in ports),
                                      "redial": "20ms", "redial_max": "200ms"},
                      "route jobs.created": {"transport": "mesh", "spool": "yes", **(more or {})},
                      "store main": None})


def receiver(port, **more):
    """Everything but the gateway."""
    return odto.Host({"plugin gateway": None, "bridge mesh": {"module": "nng", "listen": f"tcp://127.0.0.1:{port}"},
                      "route jobs.created": {"transport": "mesh"}, **more})


def submit(host, n, **members):
    ids, connection = [], host.gateway.keep()
    for _ in range(n):
        j = odto.job(**members)
        r = host.gateway.request("POST", "/jobs", j, connection=connection)
        odto.equal(r.status, 202, r.text)
        ids.append(j["id"])
    connection.close()
    return ids


def total(*hosts):
    return sum(h.stats()["completedJobs"] for h in hosts)


def drained(host):
    """Nothing waits in the sender's spool."""
    odto.wait_until(lambda: host.gateway.metrics()['odto_route_depth{route="jobs.created"}'] == 0, 30, "all is answered")


@suite.test("jobs go from host to host")
def _():
    port = odto.free_port()
    with receiver(port) as r, sender(port) as s:
        ids = submit(s, 200)
        odto.wait_until(lambda: total(r) == 200, 20, "all are completed")
        drained(s)
        odto.equal({r.job(i)["status"] for i in ids}, {"COMPLETED"})


@suite.test("several senders, several receivers: each job once, and both receivers work")
def _():
    a, b = odto.free_port(), odto.free_port()
    with receiver(a) as r1, receiver(b) as r2, sender(a, b) as s1, sender(b, a) as s2:
        submit(s1, 150)
        submit(s2, 150)
        odto.wait_until(lambda: total(r1, r2) == 300, 20, "all are completed")
        odto.check(total(r1) and total(r2), f"{total(r1)} and {total(r2)}")


@suite.test("the receiver is away: the sender spools, up to its bound, and sends when it is back")
def _():
    port = odto.free_port()
    with sender(port, more={"capacity": 100, "overflow": "reject"}) as s:
        submit(s, 100)
        odto.equal(s.gateway.post("/jobs", odto.job()).status, 503, "full")
        odto.contains(s.odto("health", "--json").stdout, "is away")
        s.kill()
        s.wait = False  # full, so not ready
        s.start()
        with receiver(port) as r:
            odto.wait_until(lambda: total(r) == 100, 20, "all are completed")


@suite.test("kill -9 of sender and receiver at any moment loses nothing and ends each job once")
def _():
    port = odto.free_port()
    with receiver(port) as r, sender(port) as s:
        ids = []
        for k in range(4):
            ids += submit(s, 100)
            victim = (r, s)[k % 2]
            victim.kill()
            victim.start()
        ids += submit(s, 20)
        odto.wait_until(lambda: total(r) == len(ids), 30, "all are completed")
        drained(s)
        odto.equal(r.stats()["totalJobs"], len(ids), "each once")


@suite.test("of two receivers one dies with batches in its hands: the other takes them")
def _():
    a, b = odto.free_port(), odto.free_port()
    with receiver(a) as r1, sender(a, b) as s:
        with receiver(b) as r2:
            submit(s, 50)
            odto.wait_until(lambda: total(r1, r2) == 50, 20, "completed")
            done = total(r2)
            r2.kill()
            submit(s, 100)
            odto.wait_until(lambda: total(r1) == 150 - done, 20, "the other one has all")
            r2.start()


@suite.test("clients that leave during the greeting do not close the door: the listener is opened anew")
def _():
    port = odto.free_port()
    with receiver(port) as r:
        for k in range(20):  # port scans: nothing, half a greeting, nonsense; gone with a reset
            with socket.create_connection(("127.0.0.1", port), timeout=5) as c:
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                c.sendall((b"", HELLO[:3], b"GET / HT")[k % 3])
        with sender(port) as s:
            submit(s, 20)
            odto.wait_until(lambda: total(r) == 20, 20, "accepted all the same")
            times = r.read_model.metrics().get('odto_bridge_reopened_total{bridge="mesh"}', 0)
            odto.diag(f"opened anew {times:g} times")


@suite.test("nonsense in a request is answered and logged, and the rest goes on")
def _():
    port = odto.free_port()
    with receiver(port) as r:
        for body in (b"", b"odn1", b"odn1" + struct.pack(">I", 5) + b"jobs.", os.urandom(300),
                     b"odn1" + struct.pack(">I", 12) + b"jobs.created" + struct.pack(">I", 4000000000)):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as c:
                c.sendall(HELLO)
                odto.equal(len(c.recv(8)), 8)
                request = struct.pack(">I", 0x80000001) + body  # REQ's id, as the protocol wants it
                c.sendall(struct.pack(">Q", len(request)) + request)
                head = c.recv(8, socket.MSG_WAITALL)
                answer = c.recv(struct.unpack(">Q", head)[0], socket.MSG_WAITALL)
                odto.equal(answer[-1:], b"N", f"answer to {body[:20]!r}")
        with sender(port) as s:
            submit(s, 5)
            odto.wait_until(lambda: total(r) == 5, 20, "completed")


@suite.test("poison that came over the bridge becomes a dead letter in the receiver's spool")
def _():
    port = odto.free_port()
    with receiver(port) as r:
        body = b"not json"
        batch = b"odn1" + struct.pack(">I", 12) + b"jobs.created" + struct.pack(">I", 1) + struct.pack(">I", len(body)) + body
        with socket.create_connection(("127.0.0.1", port), timeout=10) as c:
            c.sendall(HELLO)
            c.recv(8)
            request = struct.pack(">I", 0x80000001) + batch
            c.sendall(struct.pack(">Q", len(request)) + request)
            head = c.recv(8, socket.MSG_WAITALL)
            odto.equal(c.recv(struct.unpack(">Q", head)[0], socket.MSG_WAITALL)[-1:], b"D", "settled")
        letters = json.loads(r.odto("dlq", "list", "--json").stdout)["letters"]
        odto.equal(len(letters), 1)
        odto.contains(letters[0]["reason"], "JSON")


@suite.test("the manifest is checked: neither listen nor dial, and what is no address")
def _():
    for keys, want in (({}, "neither listen nor dial"), ({"dial": "http://x"}, "no address of a host")):
        h = odto.Host({"bridge mesh": {"module": "nng", **keys}}, wait=False)
        h.start()
        odto.check(h.process.wait(20 * odto.SLOW) != 0, "refused")
        odto.contains(h.log, want)
        h.process = None
        h.cleanup()


suite.main()
