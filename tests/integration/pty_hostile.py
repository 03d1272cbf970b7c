"""Hostile clients of the terminal broker: nothing grows, nothing stays behind. ODTO_PTY_HOSTILE (1500) connections;
ODTO_PTY_SOAK (3) seconds of sessions that open, close and come back: 3600 for a real soak."""
import json
import os
import pathlib
import random
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import odto  # noqa: E402
from terminal import BINARY, TEXT, Broker, Socket, mask_frame  # noqa: E402

suite = odto.Suite()
PROMPT = "sh>"
MANY = int(os.environ.get("ODTO_PTY_HOSTILE", "1500"))
SOAK = float(os.environ.get("ODTO_PTY_SOAK", "3"))
MIB = 1 << 20
LIVE = 80  # sessions at once in the soak, 50 of them held


def still_works(b):
    c = b.json().expect(PROMPT)
    c.type("exit\r").expect_closed()
    b.wait_metric("pty_sessions_active", 0)


@suite.test("thousands of connections, opened and dropped in every state: descriptors, processes, memory as before")
def _():
    with Broker({"kill_grace": "200ms", "disconnect_grace": "0", "idle_timeout": "0", "token_ttl": "0"}) as b:
        still_works(b)
        fds, threads, rss = b.descriptors(), b.threads(), b.rss()
        upgrade = (f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{b.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   "Sec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n")
        ends = ["", "\r\n", "Sec-WebSocket-Protocol: odto.pty.v1\r\n\r\n", "Origin: http://evil.example\r\n\r\n"]
        for i in range(MANY):
            s = socket.create_connection(("127.0.0.1", b.port), timeout=10 * odto.SLOW)
            s.sendall((upgrade + ends[i % 4]).encode()[:None if i % 5 else i % 200 + 1])
            if i % 3 == 0 and i % 4 and i % 5:
                s.recv(64)
            if i % 7 == 0:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            s.close()
        odto.wait_until(lambda: b.metric("pty_sessions_active") == 0 and b.metric("pty_sessions_reaping") == 0, 20, "no session")
        odto.wait_until(lambda: not b.children(), 10, "no process is left")
        odto.wait_until(lambda: b.descriptors() <= fds + 2, 15, f"descriptors are as before ({fds})")
        odto.equal(b.threads(), threads, "threads")
        odto.check(b.rss() - rss < 24 * MIB, f"memory grew by {(b.rss() - rss) / MIB:.1f} MiB")
        still_works(b)


@suite.test("malformed and oversized frames, fragments, floods of resizes, pings and unknown messages")
def _():
    with Broker({"per_ip_cap": 50, "kill_grace": "200ms"}) as b:
        rng = random.Random(7)
        for i in range(60):
            s = Socket(b.port, headers={"Sec-WebSocket-Protocol": "odto.pty.v1"} if i % 2 else None)
            try:
                if i % 6 == 0:
                    for _ in range(12):
                        s.send(b"x" * 65000, BINARY if i % 2 else TEXT, fin=False)
                elif i % 6 == 1:
                    s.s.sendall(bytes(rng.randrange(256) for _ in range(400)))
                elif i % 6 == 2:
                    s.s.sendall(b"\x82\xff" + b"\x7f" * 8 + b"\0\0\0\0")
                elif i % 6 == 3:
                    s.send(b"H" + b"[" * 5000, BINARY)
                elif i % 6 == 4:
                    for _ in range(300):
                        s.send(json.dumps({"type": rng.choice(["ping", "x", "resize"]), "cols": rng.randrange(1200), "rows": 30}))
                else:
                    s.send(b"H{}", BINARY)
                    for _ in range(300):
                        s.send(b"R" + bytes(rng.randrange(256) for _ in range(4)), BINARY)
            except OSError:
                pass
            s.close()
        c = b.json().expect(PROMPT)
        data = b"".join(mask_frame(json.dumps({"type": "resize", "cols": 40 + i % 100, "rows": 10 + i % 50}).encode(), TEXT)
                        for i in range(5000))
        c.type("trap 'n=$((n+1))' WINCH; n=0\r")
        c.s.sendall(data)
        c.type("while [ \"$(stty size)\" != '59 139' ]; do sleep 0.02; done; echo si''gnals $n.\r").expect("signals ")
        c.expect(".\r\n")
        n = int(c.text.rpartition("signals ")[2].split(".")[0])
        odto.check(n < 200, f"{n} resizes reached the program")


@suite.test("an address can't take all: tickets and tokens are not guessable or reusable, waiting ones are bounded")
def _():
    with Broker({"auth_token": "t"}) as b:
        waiting = []
        for _ in range(300):
            s = Socket(b.port, headers={"Sec-WebSocket-Protocol": "odto.pty.v1"})
            waiting.append(s)
            if s.status == 503:
                break
        odto.equal(waiting[-1].status, 503, "the waiting room is bounded for an address")
        odto.check(len(waiting) > 60, "but not small")
        known = {"Sec-WebSocket-Protocol": "odto.pty.v1", "Authorization": "Bearer t"}
        other = Socket(b.port, headers={**known, "X-Forwarded-For": "10.1.2.3"})
        odto.equal(other.status, 101, "another address still gets in")
        for n in range(300):
            waiting.append(Socket(b.port, headers={**known, "X-Forwarded-For": f"10.1.2.{n % 8}"}))
            if waiting[-1].status == 503 and len(waiting) > 250:
                break
        odto.equal(waiting[-1].status, 503, "it is bounded for all together")
        for s in (*waiting, other):
            s.close()
        for _ in range(300):
            first = b.ticket("t") if not _ else first
            b.ticket("t")
        odto.equal(b.binary(hello={"auth": first}).error(), "AUTH_FAILED", "the oldest of too many tickets is gone")


@suite.test("soak: sessions open, close, come back")
def _():
    with Broker({"per_ip_cap": 500, "global_cap": 500, "kill_grace": "200ms", "disconnect_grace": "500ms", "idle_timeout": "2s"}) as b:
        rng, held, until = random.Random(3), [], time.monotonic() + SOAK
        high = None
        while time.monotonic() < until:
            if len(held) < 50 and rng.random() < 0.6:
                held.append(b.json().expect(PROMPT))
            elif held:
                c = held.pop(rng.randrange(len(held)))
                what = rng.random()
                if what < 0.5:
                    sid, token = c.session, c.token
                    c.close()
                    d = b.json(f"/ws?session={sid}&token={token}")
                    d.expect_type("replay_end")
                    d.type("echo again-$((1+1))\r").expect("again-2")
                    held.append(d)
                elif what < 0.8:
                    c.type("exit\r").expect_closed()
                else:
                    c.close()
                    # each waits 2 s for somebody to come back: the quicker the machine, the more of them there would be
                    odto.wait_until(lambda: b.metric("pty_sessions_active") <= LIVE, 30, f"at most {LIVE} sessions")
            if len(held) == 50 and high is None:
                high = b.rss()
        for c in held:
            c.close()
        b.wait_metric("pty_sessions_active", 0, 30)
        odto.wait_until(lambda: not b.children(), 10, "no process is left")
        if high:
            odto.check(b.rss() < high + 16 * MIB, "memory does not grow")


if __name__ == "__main__":
    suite.main()
