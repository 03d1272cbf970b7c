"""Harness of the integration tests: a real host with a private data directory and free ports, and TAP.

    import odto
    suite = odto.Suite()

    @suite.test("a job is accepted")
    def _(host):
        r = host.gateway.post("/jobs", odto.job())
        odto.equal(r.status, 202)

    suite.main(odto.Host)          # one host for all tests of the file; or suite.main() and make your own

Python's standard library only. The build is found by ODTO_BUILDDIR (make check sets it), else as build/ or the
sources' own folder. A test that waits, waits for a condition (wait_until), never for a time.
"""
import base64
import contextlib
import fcntl
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.parse
import uuid

SRC = pathlib.Path(os.environ.get("ODTO_SRCDIR") or pathlib.Path(__file__).resolve().parents[2])


def _build_dir():
    if os.environ.get("ODTO_BUILDDIR"):
        return pathlib.Path(os.environ["ODTO_BUILDDIR"])
    for d in (SRC / "build", SRC):
        if (d / "odto-host").exists():
            return d
    return SRC / "build"


BUILD = _build_dir()
HOST = BUILD / "odto-host"
ODTO = BUILD / "odto"
# the transport of the embedded manifest's routes
TRANSPORT = os.environ.get("ODTO_TEST_TRANSPORT", "spool")
# "servers": hosts have RabbitMQ and the databases of stack.py instead of the embedded store and routes
STACK = os.environ.get("ODTO_TEST_STACK", "embedded")
# slow builds (sanitizers, valgrind) and busy machines: ODTO_TEST_SLOW=3 makes every wait three times as long
SLOW = float(os.environ.get("ODTO_TEST_SLOW", "1"))
# what the host runs under: ODTO_TEST_WRAP="valgrind -q …"
WRAP = os.environ.get("ODTO_TEST_WRAP", "").split()


# ---- assertions ---------------------------------------------------------------------------------

class Failed(AssertionError):
    pass


class Skip(Exception):
    pass


def only_embedded(why="it is about the embedded store"):
    """Skips the test on another stack."""
    if STACK != "embedded":
        raise Skip(why)


def check(ok, what="condition"):
    if not ok:
        raise Failed(what)


def equal(got, want, what="value"):
    if got != want:
        raise Failed(f"{what}: got {got!r}, want {want!r}")


def contains(text, part, what="text"):
    if part not in text:
        raise Failed(f"{what} lacks {part!r}: {text[:2000]!r}")


def matches(text, pattern, what="text"):
    if not re.search(pattern, text):
        raise Failed(f"{what} does not match {pattern!r}: {text[:2000]!r}")


def wait_until(condition, timeout=10.0, what="condition", every=0.01):
    """The first true value of condition(); fails after timeout seconds (times ODTO_TEST_SLOW)."""
    end = time.monotonic() + timeout * SLOW
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = value
        except (OSError, http.client.HTTPException) as e:
            last = e
        if time.monotonic() > end:
            raise Failed(f"not within {timeout * SLOW:g} s: {what} (last: {last!r})")
        time.sleep(every)


# ---- ports, ids, jobs ---------------------------------------------------------------------------

_held = {}  # port -> descriptor of its lock file, open (and so locked) for the life of this process


def _port_range():
    """Ports below those that the kernel gives to outgoing connections and to bind(0)."""
    try:
        first = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        first = 32768
    return (10240, first) if first > 12000 else (61000, 65536)


def _hold(folder, port):
    """A locked descriptor for this port, or None where another test program has it or something is bound to it."""
    fd = os.open(folder / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.socket() as s:
            s.bind(("127.0.0.1", port))
        return fd
    except OSError:
        os.close(fd)
        return None


def free_port():
    """A TCP port of 127.0.0.1 that is this process's own until it ends: nothing is bound to it, no other test program gets
    it (a lock file says so), and the kernel gives it to no outgoing connection."""
    folder = pathlib.Path(tempfile.gettempdir()) / f"odto-ports.{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    low, high = _port_range()
    begin = random.randrange(high - low)
    for i in range(high - low):
        port = low + (begin + i) % (high - low)
        fd = None if port in _held else _hold(folder, port)
        if fd is not None:
            _held[port] = fd
            return port
    raise Failed(f"no port of {low}..{high - 1} is free")


_last_id = 0
_last_id_lock = threading.Lock()


def uuid7():
    """Ids of one process sort in the order they were made. Any thread: an id made twice would be one job accepted twice."""
    global _last_id
    ms = int(time.time() * 1000)
    with _last_id_lock:
        made = _last_id = max(_last_id + 1, (ms << 74) | (uuid.uuid4().int & ((1 << 73) - 1)))
    high, low = made >> 62, made & ((1 << 62) - 1)
    return str(uuid.UUID(int=(high >> 12 << 80) | (0x7 << 76) | ((high & 0xfff) << 64) | (0x2 << 62) | low))


def now_text():
    t = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(t)) + f".{int(t * 1000) % 1000:03d}Z"


def job(**members):
    """A valid job; members replace or add (None removes)."""
    j = {"id": uuid7(), "type": "echo", "status": "PENDING", "createdAt": now_text(), "payload": {"text": "hi"}}
    j.update(members)
    return {k: v for k, v in j.items() if v is not None}


# ---- HTTP ---------------------------------------------------------------------------------------

class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode("utf-8")

    @property
    def json(self):
        return json.loads(self.body)

    def header(self, name, default=None):
        return self.headers.get(name, default)

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


class Client:
    """HTTP to one address; a new connection for each request unless keep() is used."""

    def __init__(self, port, host="127.0.0.1", timeout=15.0):
        self.host, self.port, self.timeout = host, port, timeout * SLOW
        self.url = f"http://{host}:{port}"

    def request(self, method, path, body=None, headers=None, connection=None):
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        if body is not None and not any(k.lower() == "content-type" for k in headers):
            headers["Content-Type"] = "application/json"
        headers = {k: v for k, v in headers.items() if v is not None}
        c = connection or http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        try:
            c.request(method, path, body=body, headers=headers)
            r = c.getresponse()
            return Response(r.status, r.headers, r.read())
        finally:
            if connection is None:
                c.close()

    def get(self, path, **headers):
        return self.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def post(self, path, body=None, **headers):
        return self.request("POST", path, body, {k.replace("_", "-"): v for k, v in headers.items()})

    def keep(self):
        """A connection to give to request(connection=…)."""
        return http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)

    def raw(self, data, until=None):
        """Send bytes as they are; what comes back until the server closes (or until(bytes) is true)."""
        with socket.create_connection((self.host, self.port), timeout=self.timeout) as s:
            s.sendall(data)
            out = b""
            while not (until and until(out)):
                part = s.recv(65536)
                if not part:
                    break
                out += part
            return out

    def ready(self, path="/readyz"):
        try:
            return self.get(path).status == 200
        except (OSError, http.client.HTTPException):
            return False

    def metrics(self):
        """{'name{labels}': value} of GET /metrics."""
        out = {}
        for line in self.get("/metrics").text.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                out[name] = float(value)
        return out


class EventStream:
    """Server-sent events of one GET; read them with next()."""

    def __init__(self, client, path="/events/stream", **headers):
        self.socket = socket.create_connection((client.host, client.port), timeout=client.timeout)
        head = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in headers.items())
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {client.host}\r\n{head}\r\n".encode())
        self.response = http.client.HTTPResponse(self.socket)
        self.response.begin()
        self.status = self.response.status

    def next(self):
        """(id, data) of the next event; comments are skipped. None at the end."""
        seq, data = None, []
        while True:
            line = self.response.readline()
            if not line:
                return None
            line = line.decode().rstrip("\r\n")
            if not line and data:
                return seq, "\n".join(data)
            key, _, value = line.partition(":")
            value = value[1:] if value.startswith(" ") else value
            if key == "id":
                seq = value
            elif key == "data":
                data.append(value)

    def close(self):
        self.response.close()
        self.socket.close()


# ---- manifest and host --------------------------------------------------------------------------

class Manifest:
    """Sections in order; m["plugin gateway"]["listen"] = …; None removes a section. Default: the embedded host
    (spool routes, one SQLite file) on free ports."""

    def __init__(self, sections=None):
        self.sections = sections if sections is not None else self.embedded()

    @staticmethod
    def embedded():
        def address():
            return f"127.0.0.1:{free_port()}"
        if STACK == "servers":
            import stack
            kept, jobs, counters, events = stack.sections(), "jobs", "counters", "events"
        else:
            jobs = counters = events = "main"
            kept = {
                "store main": {"module": "sqlite"},
                "route jobs.created": {"transport": TRANSPORT, "dead_letter": "jobs.failed.validation"},
                "route jobs.completed": {"transport": TRANSPORT, "dead_letter": "jobs.failed.validation"},
                "route jobs.failed.validation": {"transport": TRANSPORT},
            }
        return {
            "host": {"shutdown_timeout": "10s"},
            "log": {"level": "info"},
            **kept,
            "handler builtin": {"types": "echo, sleep, fail", "concurrency": "64"},
            "plugin gateway": {"listen": address()},
            "plugin processor": {"listen": address(), "jobs": jobs},
            "plugin metrics": {"counters": counters, "events": events},
            "plugin read-model": {"listen": address(), "jobs": jobs, "counters": counters, "events": events},
        }

    def __getitem__(self, section):
        return self.sections.setdefault(section, {})

    def __setitem__(self, section, keys):
        if keys is None:
            self.sections.pop(section, None)
        else:
            self.sections[section] = keys

    def update(self, changes):
        """{section: {key: value} or None}; a value None removes the key."""
        for section, keys in changes.items():
            if keys is None:
                self.sections.pop(section, None)
                continue
            at = self.sections.setdefault(section, {})
            for k, v in keys.items():
                if v is None:
                    at.pop(k, None)
                else:
                    at[k] = str(v)
        return self

    def text(self):
        return "\n".join(f"[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items())
                         for name, keys in self.sections.items())

    def port(self, section, key="listen"):
        return int(self.sections[section][key].rpartition(":")[2])


class Host:
    """An odto-host of this build. Use as a context manager, or start() and stop().

    changes: for Manifest.update; env: added to the environment; wait: for readiness; place: a network namespace (net.py)."""

    def __init__(self, changes=None, manifest=None, env=None, wait=True, args=(), place=None):
        self.manifest = manifest or Manifest()
        self.manifest.update(changes or {})
        self.env, self.wait, self.args, self.place = env or {}, wait, list(args), place
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="odto-test-"))
        self.data = self.dir / "data"
        self.data.mkdir()
        self.file = self.dir / "odto.ini"
        self.log_file = self.dir / "host.log"
        self.process = None
        self.ended = None  # exit status of the last run

    # clients by section; sections of other names by client()
    def client(self, section):
        return Client(self.manifest.port(section), self.place.address if self.place else "127.0.0.1")

    gateway = property(lambda self: self.client("plugin gateway"))
    processor = property(lambda self: self.client("plugin processor"))
    read_model = property(lambda self: self.client("plugin read-model"))

    @property
    def control(self):
        return self.data / "control.sock"

    @property
    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def write(self):
        """Write the manifest as it is now (start does it as well)."""
        host = self.manifest["host"]
        host.setdefault("data_dir", str(self.data))
        host.setdefault("plugin_dir", str(BUILD / "plugins.d"))
        self.file.write_text(self.manifest.text())

    def environment(self):
        keep = {k: v for k, v in os.environ.items()
                if not k.startswith("ODTO_") and not k.endswith("_URL") and not k.startswith("PTY_")}
        return {**keep, **self.env}

    def start(self):
        self.write()
        words = [*WRAP, str(HOST), "-c", str(self.file), *self.args]
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(self.place.command(words) if self.place else words, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env=self.environment())
        if self.wait:
            try:
                self.wait_ready()
            except Failed:
                self.kill()
                raise
        return self

    def wait_ready(self, timeout=20):
        sections = [s for s in ("plugin gateway", "plugin read-model", "plugin processor")
                    if "listen" in self.manifest.sections.get(s, {})]

        def ready():
            if self.process.poll() is not None:
                raise Failed(f"the host ended with status {self.process.returncode}:\n{self.log[-4000:]}")
            return all(self.client(s).ready() for s in sections)
        try:
            wait_until(ready, timeout, "the host is ready")
        except Failed as e:
            raise Failed(f"{e}\n{self.log[-4000:]}") from None

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, timeout=20):
        """SIGTERM, then its exit status; killed (and failed) when it does not end."""
        if self.process is None:
            return self.ended
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.ended = self.process.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed(f"the host did not end within {timeout * SLOW:g} s of SIGTERM:\n{self.log[-4000:]}")
        self.process = None
        return self.ended

    def kill(self):
        """SIGKILL, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.ended = self.process.wait()
            self.process = None

    def restart(self):
        self.stop()
        return self.start()

    def odto(self, *args, **more):
        """Run the `odto` command against this host; subprocess.CompletedProcess with text."""
        env = {**self.environment(), "ODTO_SOCKET": str(self.control)}
        for key, section in (("GATEWAY_URL", "plugin gateway"), ("READ_MODEL_URL", "plugin read-model")):
            if section in self.manifest.sections:
                env[key] = self.client(section).url
        return subprocess.run([str(ODTO), *args], capture_output=True, text=True, env=env, timeout=60 * SLOW, **more)

    # ---- what tests of the main job need

    def submit(self, **members):
        """Submit one job; its id."""
        r = self.gateway.post("/jobs", job(**members))
        equal(r.status, 202, f"status of POST /jobs ({r.text})")
        return r.json["jobId"]

    def job(self, job_id):
        r = self.read_model.get(f"/jobs/{job_id}")
        return r.json if r.status == 200 else None

    def wait_job(self, job_id, states=("COMPLETED", "FAILED"), timeout=15):
        def ended():
            j = self.job(job_id)
            return j if j and j["status"] in states else None
        return wait_until(ended, timeout, f"job {job_id} is one of {states}")

    def last_words(self, most=8000):
        """The log's end; what a sanitizer reported comes first."""
        log = self.log
        at = re.search(r"WARNING: ThreadSanitizer|ERROR: (Address|Leak)Sanitizer|runtime error:", log)
        return (log[at.start():at.start() + most] + "\n[…]\n" if at else "") + log[-most:]

    def stats(self):
        return self.read_model.get("/stats").json

    def cleanup(self):
        if os.environ.get("ODTO_TEST_KEEP"):
            print(f"# kept {self.dir}", flush=True)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, tb):
        try:
            if kind is None:
                status = self.stop()
                check(status == 0, f"exit status of the host after SIGTERM: {status}\n{self.last_words()}" if status else "")
            else:
                if self.process is not None and self.process.poll() is None:
                    self.process.terminate()
                    try:
                        self.process.wait(10 * SLOW)
                    except subprocess.TimeoutExpired:
                        self.kill()
                self.process = None
        finally:
            self.cleanup()


# ---- TAP ----------------------------------------------------------------------------------------

def diag(text):
    for line in str(text).splitlines():
        print(f"# {line}", flush=True)


# what makes single tests as long as somebody wants
LENGTHS = ("ODTO_ROUNDS", "ODTO_KILLS", "ODTO_RELOADS", "ODTO_PTY_SOAK", "ODTO_PTY_HOSTILE", "ODTO_LONG_JOB")
LIMIT = 0 if any(n in os.environ for n in LENGTHS) else 600  # seconds a test may take; none takes a tenth of it


@contextlib.contextmanager
def deadline(seconds):
    """What stands still in here is Failed, with the line where it stood; its servers and hosts are then ended as usual."""
    def late(_number, _frame):
        raise Failed(f"the test stood here when its {seconds} s were over")
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


class Suite:
    def __init__(self):
        self.tests = []

    def test(self, name):
        def add(fn):
            self.tests.append((name, fn))
            return fn
        return add

    def _run_one(self, number, name, fn, args):
        began = time.monotonic()
        try:
            with deadline(LIMIT * SLOW):
                fn(*args)
        except Skip as e:
            print(f"ok {number} - {name} # SKIP {e}", flush=True)
            return True
        except Exception as e:  # noqa: BLE001 - any exception is a failed test
            print(f"not ok {number} - {name}", flush=True)
            diag("".join(traceback.format_exception(type(e), e, e.__traceback__))
                 if not isinstance(e, Failed) else _where(e) + str(e))
            return False
        print(f"ok {number} - {name} ({time.monotonic() - began:.2f} s)", flush=True)
        return True

    def main(self, fixture=None, only=None):
        """Run all tests (or those whose name holds one of the words on the command line)."""
        words = only or sys.argv[1:]
        tests = [t for t in self.tests if not words or any(w in t[0] for w in words)]
        if not HOST.exists():
            print(f"1..0 # SKIP there is no {HOST}: build first")
            sys.exit(0)
        print(f"1..{len(tests)}", flush=True)
        good = True
        if fixture is None:
            for i, (name, fn) in enumerate(tests, 1):
                good &= self._run_one(i, name, fn, ())
            sys.exit(0 if good else 1)
        done = 0
        try:
            with fixture() as value:
                for i, (name, fn) in enumerate(tests, 1):
                    ok = self._run_one(i, name, fn, (value,))
                    if not ok and isinstance(value, Host):
                        diag("the host's log ends:\n" + value.log[-3000:])
                    good &= ok
                    done = i
        except Skip as e:  # what the fixture needs is not here
            for i, (name, _) in enumerate(tests[done:], done + 1):
                print(f"ok {i} - {name} # SKIP {e}", flush=True)
        except Exception as e:  # noqa: BLE001 - the fixture failed
            print("Bail out! " + str(e).splitlines()[0] if done < len(tests) else "# the fixture's end failed", flush=True)
            diag(e)
            good = False
        sys.exit(0 if good else 1)


def _where(e):
    frames = [f for f in traceback.extract_tb(e.__traceback__) if f.filename != __file__]
    frames = [f for f in frames if "/tests/" in f.filename] or frames
    return f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}: " if frames else ""


def run_program(name, env=None, timeout=120):
    """Run a test program of the build (check, TAP); what failed is the failure's text. Told: how many it checked."""
    file = BUILD / name
    if not file.exists():
        raise Skip(f"{name} was not built (its library, or check, is missing)")
    done = subprocess.run([str(file)], env={**os.environ, **(env or {}), "CK_TAP_LOG_FILE_NAME": "-", "CK_VERBOSITY": "silent"},
                          capture_output=True, text=True, timeout=timeout * SLOW)
    lines = done.stdout.splitlines()
    bad = [x for x in lines if x.startswith("not ok")]
    if bad or done.returncode != 0:
        raise Failed("\n".join(bad) + f"\nexit status {done.returncode}\n" + done.stderr[-3000:])
    diag(f"{name}: {sum(x.startswith('ok') for x in lines)} checks")


def basic_auth(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def quote(text):
    return urllib.parse.quote(text, safe="")
