"""The terminal broker as its clients see it: messages, codes, caps, tokens, tickets, origins, read-only, children."""
import json
import os
import pathlib
import signal
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import odto  # noqa: E402
from terminal import BINARY, Binary, Broker, Json, Socket  # noqa: E402

suite = odto.Suite()
PROMPT = "sh>"


def alive(pid):
    try:
        os.kill(pid, 0)
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z"
    except (OSError, ProcessLookupError):
        return False


def gone(b):
    odto.wait_until(lambda: not b.children(), 10, "no child is left")


def ended(b, *clients):
    """Leave the shells of these clients, so that their places are free for the next test."""
    for c in clients:
        c.type("exit\r")
        c.expect_closed()
    b.wait_metric("pty_sessions_active", 0)
    b.wait_metric("pty_sessions_reaping", 0)


@suite.test("session is the first message; output is numbered; ping; resize; exit closes with 1000")
def _(b):
    c = b.json("/any/path")
    first = c.next()
    odto.equal(first["type"], "session")
    odto.equal(len(first["reconnectToken"]), 43)
    odto.matches(first["sessionId"], r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
    c.expect(PROMPT).type("echo $((6*7))\r").expect("42\r\n")
    odto.check(c.seqs and c.seqs[0] == 1, "the first frame is 1")
    c.do("ping").expect_type("pong")
    c.do("resize", cols=101, rows=37).type("stty size\r").expect("37 101\r\n")
    odto.equal(b.metric("pty_sessions_active"), 1)
    odto.equal(b.metric("pty_sessions_connected"), 1)
    c.type("exit 7\r")
    odto.equal(c.expect_closed(), 1000)
    odto.contains(c.expect_type("notice")["message"], "status 7")
    b.wait_metric("pty_sessions_active", 0)
    gone(b)


@suite.test("unknown types, bad JSON, numbers out of range and binary frames are ignored and counted")
def _(b):
    c = b.json().expect(PROMPT)
    before = b.metric("pty_messages_ignored_total")
    bad = ["{", "[]", "1", '{"type":1}', '{"type":"dance"}', '{"type":"resize","cols":0,"rows":10}', '{"a":' * 50,
           '{"type":"resize","cols":1001,"rows":10}', '{"type":"resize","cols":"80","rows":10}', '{"type":"input"}',
           '{"type":"input","data":1}', '{"type":"reconnect","session":1,"token":"x"}', '{"type":"resize","cols":1e99,"rows":1}']
    for text in bad:
        c.send(text)
    c.send(b"I", BINARY)
    c.do("ping").expect_type("pong")
    odto.equal(b.metric("pty_messages_ignored_total") - before, len(bad) + 1)
    c.type("stty size\r").expect("24 80")
    ended(b, c)


@suite.test("the child: own terminal and session, no descriptors but 0-2, an environment of its own")
def _(b):
    c = b.json().expect(PROMPT)
    c.type("env; ls /proc/self/fd | tr '\\n' ,; ps -o pid=,sid=,tty= -p $$; echo e''nd\r").expect("end\r\n")
    env = dict(x.split("=", 1) for x in c.text.split("\r\n") if "=" in x and not x.startswith(PROMPT))
    for k, v in (("TERM", "xterm-256color"), ("COLORTERM", "truecolor"), ("LC_ALL", "C.UTF-8"), ("ODD_DASHBOARD_SERVER_MODE", "1"),
                 ("GATEWAY_URL", "http://127.0.0.1:3000"), ("READ_MODEL_URL", "http://127.0.0.1:8080")):
        odto.equal(env.get(k), v, k)
    odto.check("SECRET_DB_PASSWORD" not in c.text and "hidden" not in c.text, "nothing of the host's environment")
    odto.contains(c.text, "0,1,2,3,")  # 3 is the folder ls reads
    odto.check("4," not in c.text.split("0,1,2,3,")[1][:3], "no further descriptor")
    odto.matches(c.text, r"(\d+) +\1 pts/\d+")
    ended(b, c)


@suite.test("a multi-byte character is never split; what is no UTF-8 becomes U+FFFD")
def _(b):
    c = b.json().expect(PROMPT)
    c.type("printf '\\342'; sleep 0.02; printf '\\202\\254.'; printf '\\303(\\377)'; printf '\\360\\237\\230\\200!\\n'\r")
    c.expect("!\r\n")
    odto.contains(c.text, "€.\ufffd(\ufffd)😀!")
    c.type("i=0; while [ $i -lt 3000 ]; do printf '€öß😀'; i=$((i+1)); done; echo; echo d''one\r").expect("done\r\n")
    odto.contains(c.text, "€öß😀" * 3000)
    ended(b, c)


@suite.test("the program goes on without its client; tokens are good once, the one before until the new one is used")
def _(b):
    c = b.json().expect(PROMPT)
    c.type("x=kept; echo $$\r").expect("\r\n" + PROMPT)
    one, sid, seq = c.token, c.session, c.seq
    c.type("(sleep 0.2; echo la''ter) &\r")
    c.expect("ter) &\r\n")
    c.close()
    b.wait_metric("pty_sessions_disconnected", 1)
    d = b.json(f"/ws?session={sid}&token={one}")
    first = d.next()
    odto.equal((first["type"], first["sessionId"], first["restore_size"]), ("reconnected", sid, {"cols": 80, "rows": 24}))
    odto.check(first["reconnectToken"] != one, "rotated")
    d.expect_type("replay_end")
    d.expect("later").type("echo $x\r").expect("kept\r\n")  # typed: the new token has arrived
    two = d.token
    d.close()
    b.wait_metric("pty_sessions_disconnected", 1)
    odto.equal(b.json(f"/ws?session={sid}&token={one}").error(), "INVALID_TOKEN")
    odto.equal(b.json(f"/ws?session={sid}&token=x").error(), "INVALID_TOKEN")
    odto.equal(b.json(f"/ws?session={sid}").error(), "INVALID_TOKEN")
    odto.equal(b.json(f"/ws?session={'0' * 36}&token={two}").error(), "SESSION_NOT_FOUND")
    lost = b.json(f"/ws?session={sid}&token={two}")  # its answer is lost: the client never hears of the third token
    lost.next()
    lost.close()
    b.wait_metric("pty_sessions_disconnected", 1)
    e = b.json(f"/ws?session={sid}&token={two}")
    e.expect_type("replay_end")
    ended(b, e)


@suite.test("reconnect as a message: only what is missing is replayed, and the session just made goes away")
def _(b):
    c = b.json().expect(PROMPT)
    c.type("echo one\r").expect("one\r\n" + PROMPT)
    seq, sid = c.seq, c.session
    c.type("echo two\r").expect("two\r\n" + PROMPT)
    d = b.json()
    d.expect_type("session")
    d.do("reconnect", session=sid, token=c.token, last_seq=seq)
    begin = d.expect_type("replay_begin")
    odto.equal(begin["from_seq"], seq + 1)
    odto.equal(d.expect_type("replay_end")["last_seq"], c.seq)
    odto.check("echo two" in d.text.split(PROMPT, 1)[-1] or "echo two" in d.text, "the missing part")
    odto.check("one" not in d.text[d.text.index("echo two"):], "not what it had")
    odto.equal(c.expect_closed(), 4001, "the older connection")
    b.wait_metric("pty_sessions_active", 1)
    e = b.json()
    e.expect_type("session")
    e.do("reconnect", session=sid, token="wrong")
    odto.equal(e.error(), "INVALID_TOKEN")
    b.wait_metric("pty_sessions_active", 1)
    ended(b, d)


@suite.test("a replay that can't be whole: buffer_truncated, counted, and the screen instead")
def _(_b):
    with Broker({"ring_bytes": 4096, "ring_frames": 20}) as b:
        c = b.json().expect(PROMPT)
        seq, sid = c.seq, c.session
        c.type("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; echo e''nd\r").expect("end\r\n" + PROMPT)
        c.close()
        b.wait_metric("pty_sessions_disconnected", 1)
        d = b.json()
        d.do("reconnect", session=sid, token=c.token, last_seq=seq)
        d.expect_type("replay_end")
        odto.check(d.expect_type("buffer_truncated")["frames_dropped"] > 0, "frames dropped")
        odto.check(b.metric("pty_output_drops_total") > 0, "counted")
        odto.contains(d.text, "\033c")
        odto.contains(d.text, "line 1999\r\nend\r\n" + PROMPT)


@suite.test("caps: per address and in all; an ended session frees its place at once, an idle one makes room")
def _(_b):
    with Broker({"per_ip_cap": 2, "global_cap": 3, "disconnect_grace": "500ms"}) as b:
        def of(ip, **more):
            return b.json(headers={"X-Forwarded-For": ip}, origin="http://localhost:8081", **more)
        first, second = of("10.1.1.1"), of("10.1.1.1")
        first.expect(PROMPT), second.expect(PROMPT)
        odto.equal(of("10.1.1.1").error(), "PER_IP_CAP")
        odto.equal(of("10.9.9.9, 10.1.1.1").error(), "PER_IP_CAP", )
        third = of("10.2.2.2").expect(PROMPT)
        odto.equal(of("10.3.3.3").error(), "GLOBAL_CAP")
        first.type("exit\r").expect_closed()
        fourth = of("10.1.1.1").expect(PROMPT)
        fourth.close()
        b.wait_metric("pty_sessions_idle", 1)
        fifth = of("10.1.1.1").expect(PROMPT)
        b.wait_metric("pty_sessions_active", 3)
        for c in (second, third, fifth):
            c.close()


@suite.test("grace, idle, reaped; a token that is too old")
def _(_b):
    with Broker({"disconnect_grace": "200ms", "idle_timeout": "1500ms", "token_ttl": "400ms"}) as b:
        c = b.json().expect(PROMPT)
        child = b.children()[0]
        c.close()
        b.wait_metric("pty_sessions_disconnected", 1)
        b.wait_metric("pty_sessions_idle", 1)
        odto.wait_until(lambda: b.json(f"/ws?session={c.session}&token=no").error() in ("INVALID_TOKEN", "SESSION_NOT_FOUND"))
        b.wait_metric("pty_sessions_active", 0)
        odto.wait_until(lambda: not alive(child), 10, "the program ended")
        odto.equal(b.json(f"/ws?session={c.session}&token={c.token}").error(), "SESSION_NOT_FOUND")
    with Broker({"token_ttl": "0"}) as b:
        c = b.json().expect(PROMPT)
        c.close()
        b.wait_metric("pty_sessions_disconnected", 1)
        odto.equal(b.json(f"/ws?session={c.session}&token={c.token}").error(), "INVALID_TOKEN")


@suite.test("auth: Bearer, ?auth=, tickets that are good once; nothing of it in logs or children")
def _(_b):
    secret = "s3cret-Token-of-the-test"
    with Broker(env={"PTY_AUTH_TOKEN": secret}) as b:
        odto.equal(b.json().error(), "AUTH_REQUIRED")
        odto.equal(b.json("/ws?auth=wrong").error(), "AUTH_FAILED")
        odto.equal(b.json(headers={"Authorization": "Bearer wrong"}).error(), "AUTH_FAILED")
        c = b.json(f"/ws?auth={secret}").expect(PROMPT)
        c.type("env; cat /proc/$$/environ; echo e''nd\r").expect("end\r\n")
        odto.check(secret not in c.text, "not in the child's environment")
        d = b.json(headers={"Authorization": f"Bearer {secret}"}).expect(PROMPT)
        odto.equal(b.http.post("/api/v1/term/ticket").status, 401)
        odto.equal(b.http.post("/api/v1/term/ticket", None, Authorization="Bearer no").status, 401)
        ticket = b.ticket(secret)
        e = b.binary(hello={"auth": ticket}).greeted().expect(PROMPT)
        odto.equal(b.binary(hello={"auth": ticket}).error(), "AUTH_FAILED", "a second use")
        odto.equal(b.binary().error(), "AUTH_REQUIRED")
        f = b.json(f"/ws?auth={b.ticket(secret)}").expect(PROMPT)
        odto.equal(b.json(f"/ws?session={c.session}&token={c.token}").error(), "AUTH_REQUIRED", "auth comes first")
        for x in (c, d, f):
            x.close()
        e.close()
        for word in (secret, ticket, c.token, d.token):
            odto.check(word not in b.log, "no secret in the log")
        for pid in [b.process.pid, *b.children()]:
            odto.check(secret.encode() not in open(f"/proc/{pid}/cmdline", "rb").read(), "nor in a command line")


@suite.test("Origin and Host: own page and listed ones; others, null and rebound names are refused before the upgrade")
def _(b):
    own = f"http://127.0.0.1:{b.port}"
    for origin, host, headers, want in (
            (own, None, {}, 101), ("http://localhost:8081", None, {}, 101), ("http://127.0.0.1:8081", None, {}, 101),
            ("http://evil.example", None, {}, 403), ("null", None, {}, 403), (f"http://127.0.0.1:{b.port + 1}", None, {}, 403),
            (None, "evil.example", {}, 403), ("http://evil.example", "evil.example", {}, 403),
            (None, f"localhost:{b.port}", {}, 101), (f"http://localhost:{b.port}", f"localhost:{b.port}", {}, 101),
            ("http://localhost:9999", None, {"X-Forwarded-Host": "localhost:9999"}, 101),
            (None, None, {"X-Forwarded-For": "10.1.2.3"}, 403)):
        s = Socket(b.port, origin=origin, host=host, headers=headers)
        odto.equal(s.status, want, f"{origin} {host} {headers}")
        if want == 101:
            c = Json.__new__(Json)
            c.__dict__.update(s.__dict__, text="", seq=None, log=[], seqs=[], session=None, token=None)
            c.expect(PROMPT)
            ended(b, c)
        s.close()
    r = b.http.post("/api/v1/term/ticket", None, Origin="http://evil.example")
    odto.equal(r.status, 403)
    with Broker({"no_origin": "bearer", "auth_token": "t"}) as strict:
        odto.equal(Socket(strict.port).status, 403)
        c = strict.json(headers={"Authorization": "Bearer t"}).expect(PROMPT)
        c.close()


@suite.test("test modes: fail and delay of the manifest; the query's only where it is enabled")
def _(b):
    c = b.json("/ws?test_mode=fail").expect(PROMPT)
    ended(b, c)
    with Broker({"test_modes": "yes"}) as t:
        odto.equal(t.json("/ws?test_mode=fail").error(), "INTERNAL_ERROR")
        t.json().expect(PROMPT).close()
    with Broker(env={"PTY_TEST_MODE": "fail"}) as t:
        odto.equal(t.json().error(), "INTERNAL_ERROR")
    with Broker(env={"PTY_TEST_MODE": "delay:300"}) as t:
        for join in (lambda: t.json().expect_type("session"), lambda: t.binary().greeted()):
            began = odto.time.monotonic()
            join()
            odto.check(odto.time.monotonic() - began >= 0.29, "delayed")


@suite.test("a program that does not start: PTY_SPAWN_FAILED, and its place is free again")
def _(_b):
    with Broker({"directory": "/nonexistent-folder"}) as b:
        for _ in range(8):  # more than the cap
            odto.equal(b.json().error(), "PTY_SPAWN_FAILED")
        b.wait_metric("pty_sessions_active", 0)
        odto.equal(b.children(), [])
    bad = Broker(program="/nonexistent/program", wait=False)
    bad.start()
    status = bad.process.wait(20)
    odto.check(status != 0, "the host says no")
    odto.contains(bad.log, "/nonexistent/program")
    bad.process = None
    bad.cleanup()


@suite.test("frames over the limit: 1009")
def _(b):
    c = b.json().expect(PROMPT)
    c.send(json.dumps({"type": "input", "data": "x" * (256 * 1024 + 1)}))
    odto.equal(c.expect_closed(), 1009)
    d = b.binary().greeted().expect(PROMPT)
    d.type(b"x" * (64 * 1024 + 1))
    odto.equal(d.expect_closed(), 1009)
    b.wait_metric("pty_sessions_disconnected", 2)
    for sid, token in ((c.session, c.token), (d.welcome["session"], d.welcome["token"])):
        e = b.json(f"/ws?session={sid}&token={token}")
        e.expect_type("replay_end")
        e.type("exit\r").expect_closed()
    b.wait_metric("pty_sessions_active", 0)


@suite.test("odto.pty.v1: welcome, offsets, resize, ping, exit; a hello is due first and in time")
def _(b):
    c = b.binary(hello={"cols": 90, "rows": 30}).greeted()
    odto.equal({k: c.welcome[k] for k in ("mode", "cols", "rows", "offset", "resumed")},
               {"mode": "full", "cols": 90, "rows": 30, "offset": 0, "resumed": False})
    c.expect(PROMPT).type("stty size\r").expect("30 90\r\n")
    c.resize(100, 40)
    c.type("stty size\r").expect("40 100\r\n")
    c.resize(1, 1000)
    c.type("while [ \"$(stty size)\" != '200 2' ]; do sleep 0.02; done; echo si''zed\r").expect("sized\r\n")
    c.send_type("P", b"12345678")
    c.until(lambda x: ("P", b"12345678") in x.log, "ping's answer")
    c.type("exit 3\r")
    odto.equal(c.expect_closed(), 1000)
    odto.equal(json.loads(dict(c.log)["X"]), {"exit": 3, "signal": None})
    d = b.binary(start=False)
    d.send_type("I", "x")
    odto.equal(d.expect_closed(), 1002)
    e = b.binary()
    e.expect(PROMPT).type("kill -9 $$\r")
    e.expect_closed()
    odto.equal(json.loads(dict(e.log)["X"]), {"exit": None, "signal": 9})
    gone(b)


@suite.test("odto.pty.v1: the missing bytes only, by absolute offset, while the ring has them")
def _(b):
    c = b.binary().greeted().expect(PROMPT)
    c.type("echo one\r").expect("one\r\n" + PROMPT)
    offset, w = c.offset, c.welcome
    c.type("echo two\r").expect("two\r\n" + PROMPT)
    d = b.binary(hello={"session": w["session"], "token": w["token"], "last_offset": offset}).greeted()
    odto.equal(d.welcome["resumed"], True)
    d.expect("two\r\n" + PROMPT)
    odto.equal((d.snapshot, d.data), (None, c.data[c.data.rindex(b"echo two"):]))
    odto.equal(d.offset, c.offset)
    odto.equal(c.expect_closed(), 4001)
    d.resize(60, 20)  # what came before is for another width: a snapshot
    d.type("stty size\r").expect("20 60")
    e = b.binary(hello={"session": w["session"], "token": d.welcome["token"], "last_offset": offset})
    e.until(lambda x: x.snapshot is not None, "snapshot")
    odto.check(e.snapshot.startswith(b"\033c"), "from a reset on")
    e.expect("20 60")
    ended(b, e)


@suite.test("viewers: see the same, can't type or resize, are told a new size; a ticket is for one session")
def _(b):
    c = b.binary().greeted().expect(PROMPT)
    sid = c.welcome["session"]
    odto.equal(b.http.post("/api/v1/term/ticket", {"role": "viewer"}).status, 400)
    viewers = [b.binary(hello={"auth": b.ticket(role="viewer", session=sid)}).greeted() for _ in range(3)]
    for v in viewers:
        odto.equal((v.welcome["mode"], v.welcome["token"]), ("viewer", ""))
        v.type("echo inject\r")
        v.resize(50, 10)
        v.until(lambda x: any(k == "N" for k, _ in x.log), "notice")
    c.type("echo sh''own; stty size\r").expect("24 80")
    for v in viewers:
        v.expect("shown").expect("24 80")
        odto.check(b"inject" not in v.data, "nothing a viewer typed")
    c.resize(70, 22)
    c.type("stty size\r").expect("22 70")
    viewers[0].until(lambda x: ("Z", struct.pack("<HH", 70, 22)) in x.log, "the new size")
    looking = b.json(f"/ws?auth={b.ticket(role='viewer', session=sid)}")
    odto.equal(looking.next()["role"], "viewer")
    looking.expect("22 70")
    ended(b, c)
    odto.equal([v.expect_closed() for v in viewers], [1000] * 3)
    odto.equal(b.binary(hello={"auth": b.ticket(role="viewer", session=sid)}).error(), "SESSION_NOT_FOUND")


@suite.test("read-only: what would change something is dropped by class, with a notice at most every 5 s")
def _(_b):
    with Broker({"read_only": "yes", "program": "/bin/cat", "arguments": "-v"}) as b:
        c = b.json()
        c.expect_type("notice")
        for data in ("n", "N", "l", "L", "\r", "\n", "\x1b[200~rm -rf x\r\x1b[201~", "pasted text\r", "\x04", "\x1a", "\x1bn",
                     "\x1bOM", "\x1b[<0;1;1M", "\x1b[", "\x1b[200~begin", "nln", "\x1b[201~", "n" * 40):
            c.type(data)
        for data in ("q", "j", "\x1b[A", "\x1bOB", "\t", "\x1b[<64;1;1M", "u", "R", "/"):
            c.type(data)
        c.do("ping").expect_type("pong")
        c.expect("/")
        echoed = c.text.split("\033c")[-1]
        for bad in "nNlLrm\r":
            odto.check(bad not in echoed.replace("M", ""), f"{bad!r} got through: {echoed!r}")
        notices = [o["message"] for o in c.log if o["type"] == "notice"]
        odto.check("⚠ Read-only mode: Task creation disabled" in notices, notices)
        odto.equal(len(notices), len(set(notices)), "each once")
        odto.equal(len(notices), 1 + 6, f"one of each class: {notices}")
        c.close()


@suite.test("kill -9 of a child, a program that ignores the hang-up, and one that leaves children behind")
def _(b):
    c = b.json().expect(PROMPT)
    child = b.children()[0]
    os.kill(child, signal.SIGKILL)
    odto.equal(c.expect_closed(), 1000)
    odto.contains(c.expect_type("notice")["message"], "signal 9")
    b.wait_metric("pty_sessions_active", 0)
    with Broker({"kill_grace": "300ms", "disconnect_grace": "0", "idle_timeout": "0"}) as k:
        d = k.json().expect(PROMPT)
        d.type("trap '' HUP TERM; set -m; sh -c 'trap \"\" HUP; sleep 1000' & sleep 1001 & echo pids $! $$; sleep 1002\r")
        d.until(lambda x: __import__("re").search(r"pids (\d+) (\d+)\r", x.text), "pids")
        pids = [int(p) for p in __import__("re").search(r"pids (\d+) (\d+)\r", d.text).groups()]
        odto.check(all(alive(p) for p in pids), "alive")
        d.close()
        odto.wait_until(lambda: not any(alive(p) for p in pids), 10, "all of the session is gone")
        gone(k)
        k.wait_metric("pty_sessions_reaping", 0)


@suite.test("a host whose manifest names it as not required starts where it was not built")
def _(_b):
    with Broker() as b:
        b.manifest["plugin never-built"] = {"required": "no"}
        b.write()
        r = b.odto("reload")
        odto.equal(r.returncode, 0, r.stdout + r.stderr)
        b.restart()
        odto.contains(b.log, "left out, since it is not required")
        b.json().expect(PROMPT).close()


if __name__ == "__main__":
    os.environ["SECRET_DB_PASSWORD"] = "hidden"
    suite.main(Broker)
