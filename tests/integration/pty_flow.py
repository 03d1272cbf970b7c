"""Flow control of the terminal broker, by what it does: whoever does not read, or does not acknowledge, makes the program wait;
memory stays flat, other sessions stay quick, and every byte arrives in order once reading goes on. Input the same way."""
import hashlib
import os
import pathlib
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import fixture  # noqa: E402
import odto  # noqa: E402
from terminal import Binary, Broker  # noqa: E402

suite = odto.Suite()
PROMPT = "sh>"
MIB = 1 << 20
WINDOW = 384 * 1024  # bytes sent beyond the last acknowledgement
LINES = 1_000_000 if not fixture.SANITIZED else 400_000  # 8 MB: more than all buffers on the way hold
BETWEEN = 4 * MIB    # what those may hold: the ring, the kernel's for the socket


def lines(n=LINES):
    return b"".join(b"%d\r\n" % i for i in range(1, n + 1))


def flooding(b, n=LINES, **more):
    """A client whose program begins to write n lines, and that program."""
    before = set(b.children())
    c = more.pop("make", b.binary)(**more).expect(PROMPT)
    child = (set(b.children()) - before).pop()
    return c.type(f"echo be''gin; exec seq 1 {n}\r"), child


def written(pid):
    """Bytes a process has written; those to a file of its own count too."""
    with open(f"/proc/{pid}/io") as f:
        return int(next(x for x in f if x.startswith("wchar:")).split()[1])


def wait_still(number, least, what):
    """Wait until a number has reached something and then stays, at four looks."""
    def still():
        last = number()
        for _ in range(3):
            time.sleep(0.15)  # between two looks
            if number() != last:
                return False
        return last >= least
    odto.wait_until(still, 30, what)


def wait_paused(pid):
    wait_still(lambda: written(pid), 65536, "the program waits")


def rest(c):
    """All output that comes until the connection closes."""
    parts, c.keep = [], False
    while (m := c.next()) is not None:
        if isinstance(c, Binary):
            parts += [m[1]] if m[0] == "O" else []
        elif m["type"] == "output":
            parts.append(m["data"].encode())
            c.text = ""
    return b"".join(parts)


def came_whole(got, n=LINES):
    want = lines(n)
    got = got[got.index(b"begin\r\n") + 7:]
    odto.equal(len(got), len(want), "bytes")
    odto.equal(hashlib.sha256(got).hexdigest(), hashlib.sha256(want).hexdigest(), "what came, in order")


def echoes(c, n=20):
    for i in range(n):
        c.type(f"echo r''ound {i}.\r").expect(f"round {i}.\r\n")


def memory(b, before, allowed, what):
    grown = b.rss() - before
    if not fixture.SANITIZED:  # those keep freed memory
        odto.check(grown < allowed, f"{what}: memory grew by {grown / MIB:.1f} MiB")


def slow_reader(make, text):
    """A client that stops reading: what its program wrote stays between the two, in bounds."""
    with Broker() as b:
        other = b.binary().expect(PROMPT)
        before = b.rss()
        c, child = flooding(b, make=getattr(b, make), receive_buffer=65536)
        wait_paused(child)
        odto.check(written(child) < BETWEEN, f"{written(child)} bytes written while nobody reads")
        odto.check(b.metric("pty_output_queue_bytes_total") < MIB, "the queue is bounded")
        odto.check(b.metric("pty_output_queue_bytes_total") > 0, "and not empty")
        memory(b, before, 8 * MIB, "a slow reader")
        echoes(other)
        c.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
        came_whole(text(c) + rest(c))
        odto.equal(b.metric("pty_output_drops_total"), 0)


@suite.test("a JSON client that does not read makes its program wait; later everything arrives, in order")
def _():
    slow_reader("json", lambda c: c.text.encode())


@suite.test("odto.pty.v1: a client that does not read makes its program wait; later everything arrives, in order")
def _():
    slow_reader("binary", lambda c: c.data)


@suite.test("odto.pty.v1: no acknowledgement, no more than the window; each one lets so much more through")
def _():
    with Broker() as b:
        other, before = b.binary().expect(PROMPT), b.rss()
        c, child = flooding(b, ack=False)
        c.expect("begin\r\n")
        wait_paused(child)
        c.until(lambda x: x.offset == WINDOW, "the window")
        odto.check(written(child) < 4 * MIB, f"{written(child)} bytes written beyond the window")
        memory(b, before, 8 * MIB, "no acknowledgements")
        echoes(other)
        for bad in (c.offset + 1, 1 << 63, 0):  # of what was not sent: ignored
            c.send_type("A", struct.pack("<Q", bad))
        c.send_type("P", b"still")
        c.until(lambda x: ("P", b"still") in x.log, "an answer")
        odto.equal(c.offset, WINDOW, "nothing more came")
        c.send_type("A", struct.pack("<Q", 100_000))
        c.until(lambda x: x.offset == WINDOW + 100_000, "as much more")
        c.ack = True
        c.acknowledge()
        came_whole(c.data + rest(c))


@suite.test("many slow readers at once: memory is bounded by their number, a quick one is not held back")
def _():
    with Broker({"per_ip_cap": 50}) as b:
        other, before = b.binary().expect(PROMPT), b.rss()
        slow = [flooding(b, ack=i % 2 == 0, receive_buffer=65536) for i in range(16)]
        wait_still(lambda: sum(written(child) for _, child in slow), 16 * 65536, "their programs wait")
        memory(b, before, 16 * 2 * MIB + 8 * MIB, "16 slow readers")
        echoes(other)
        for c, _ in slow:
            c.close()
        other.type("exit\r").expect_closed()


@suite.test("Ctrl-C ends a flood: read or not, acknowledged or not")
def _():
    with Broker() as b:
        for make, more, reading in ((b.binary, {}, True), (b.json, {}, True), (b.binary, {"ack": False}, False),
                                    (b.json, {"receive_buffer": 65536}, False)):
            before = set(b.children())
            c = make(**more).expect(PROMPT)
            child = (set(b.children()) - before).pop()
            c.type("exec yes\r")
            if reading:
                c.expect("y\r\n" * 1000)
            else:
                wait_paused(child)
            c.type("\x03")
            odto.wait_until(lambda: not os.path.exists(f"/proc/{child}/fd/1"), 10, "the program ended")
            c.ack = True
            if isinstance(c, Binary):
                c.acknowledge()
            rest(c)
            odto.equal(c.closed, 1000)


@suite.test("a client that still writes when its session has ended gets all of the output, and the close")
def _():
    with Broker() as b:
        n = 12_000  # 70 kB: all of it, and the close frame, fit into the kernel's buffers
        for make in (b.binary, b.json):
            c, child = flooding(b, n, make=make, receive_buffer=65536)
            odto.wait_until(lambda: not os.path.exists(f"/proc/{child}"), 10, "the program ended")
            odto.wait_until(lambda: b.metric("pty_output_queue_bytes_total") == 0, 10, "all is on its way")
            for _ in range(20):  # unread in the host's socket when that is closed, they would reset the connection
                c.send_type("P", b"still here") if isinstance(c, Binary) else c.do("ping")
            came_whole((c.data if isinstance(c, Binary) else c.text.encode()) + rest(c), n)
            odto.equal(c.closed, 1000)


@suite.test("a flood that is read as fast as it can be leaves other sessions quick")
def _():
    with Broker() as b:
        other = b.binary().expect(PROMPT)
        c, _ = flooding(b)
        c.expect("begin\r\n")
        c.keep = False
        for i in range(20):
            other.type(f"echo r''ound {i}.\r")
            while f"round {i}.\r\n".encode() not in other.data:
                other.next()
                c.next()
        c.close()


@suite.test("while somebody types, a flood of another session gets its share; afterwards all of it comes")
def _():
    share = 64 * 1024  # bytes a second
    with Broker({"typing_share": str(share)}) as b:
        other = b.binary().expect(PROMPT)
        c, _ = flooding(b)
        c.expect("begin\r\n")
        other.type("k").expect("k")
        began, first = time.monotonic(), c.offset
        for i in range(2, 100):  # each key brings the next quarter of a second
            other.type("k").expect("k" * i)
            c.next()
        at_most = (time.monotonic() - began) * share + BETWEEN
        odto.check(c.offset - first <= at_most, f"{c.offset - first} bytes came, at most {at_most:.0f} were due")
        came_whole(bytes(c.data) + rest(c))


@suite.test("a program ends at once behind its last output: all of it comes, also where another process holds the terminal")
def _():
    holder = f"odto-holder-{os.getpid()}"
    with Broker() as b:
        for hold in ("", f"setsid sh -c 'read x' {holder} <>$FIFO & "):
            for n in (1, 300, 3000, 30000):
                c = b.binary().expect(PROMPT)
                c.type(f"FIFO={b.dir}/fifo; [ -p $FIFO ] || mkfifo $FIFO; {hold}echo be''gin; exec seq 1 {n}\r")
                came_whole(rest(c), n)
                odto.equal(c.closed, 1000)
        subprocess.run(["pkill", "-f", holder], check=True)


@suite.test("a viewer that does not read holds nobody up, and is shown the screen later")
def _():
    with Broker() as b:
        owner = b.binary().expect(PROMPT)
        sid, before = owner.welcome["session"], b.rss()

        def viewer(**more):
            return b.binary(hello={"auth": b.ticket(role="viewer", session=sid)}, **more).greeted()
        slow, silent, quick = viewer(receive_buffer=65536), viewer(ack=False), viewer()
        for v in (slow, silent, quick):
            v.expect(PROMPT)
        owner.type(f"echo be''gin; seq 1 {LINES}; echo fi''nished\r")
        owner.expect("begin\r\n")
        while b"finished\r\n" not in owner.data[-64:]:
            owner.next()
        came_whole(owner.data[:owner.data.rindex(b"finished")])
        memory(b, before, 8 * MIB, "slow viewers")
        quick.keep = False
        quick.until(lambda v: v.offset == owner.offset, "all that the owner saw")
        slow.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
        for v in (slow, silent):
            first = v.snapshot
            v.ack, v.keep = True, True
            v.acknowledge()
            v.until(lambda x: x.offset == owner.offset, "where the owner is")
            odto.check(v.snapshot is not None and v.snapshot is not first, "the screen as it is")
            odto.check(b"finished" in v.snapshot + v.data, "and it is the last")
        owner.type("exit\r")
        odto.equal([x.expect_closed() for x in (owner, slow, silent, quick)], [1000] * 4)


@suite.test("input that the program does not take makes its client wait, and arrives in order")
def _():
    with Broker() as b:
        other, before = b.binary().expect(PROMPT), b.rss()
        c, gate, size = b.binary().expect(PROMPT), b.dir / "gate", 24 * MIB
        piece = bytes(range(32, 96)) * 512
        c.type(f"stty raw -echo; echo re''ady; while [ ! -e {gate} ]; do sleep 0.05; done; head -c {size} | sha256sum; stty sane\r")
        c.expect("ready\n")
        c.s.settimeout(60 * odto.SLOW)
        sent = [0]

        def send():
            while sent[0] < size:
                c.type(piece)
                sent[0] += len(piece)
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        wait_still(lambda: sent[0], 1, "the client waits")
        odto.check(sent[0] < size, "not all was taken while nobody read it")
        memory(b, before, 8 * MIB, "input that waits")
        echoes(other)
        gate.touch()
        sender.join(60 * odto.SLOW)
        odto.equal(sent[0], size)
        c.expect(hashlib.sha256(piece * (size // len(piece))).hexdigest())


if __name__ == "__main__":
    suite.main()
