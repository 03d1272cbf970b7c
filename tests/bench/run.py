#!/usr/bin/env python3
"""make bench: one table, each figure beside its floor, its aim and a peer or raw limit of the same run.

ODTO_BENCH_JOBS (60000) and ODTO_BENCH_BACKLOG (1000000) size it; words on the command line choose rows. The load generator shares the
machine with the host. Exit 1 when a row is under its floor. Peers that are not installed are named as such."""
import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import odto  # noqa: E402
import rabbitmq  # noqa: E402

JOBS = int(os.environ.get("ODTO_BENCH_JOBS", "60000"))
BACKLOG = int(os.environ.get("ODTO_BENCH_BACKLOG", "1000000"))
LOAD = odto.BUILD / "tests" / "bench" / "load"
rows = []


def row(what, value, unit, floor=None, aim=None, beside="", more=True):
    """more: higher is better."""
    state = ""
    if floor is not None:
        good, best = (value >= floor, value >= aim) if more else (value <= floor, value <= aim)
        state = "aim" if best else "floor" if good else "UNDER"
    rows.append((what, value, unit, floor, aim, state, beside))
    def text(x):
        return "-" if x is None else f"{x:,.2f}".rstrip("0").rstrip(".")
    print(f"{what:<58} {text(value):>12} {unit:<7} floor {text(floor):>9}  aim {text(aim):>9}  {state:<6} {beside}", flush=True)


def load(host, *args):
    done = subprocess.run([str(LOAD), "--json", "-g", host.gateway.url, "-r", host.read_model.url, *map(str, args)],
                          capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise odto.Failed(f"load {args}: {done.stdout} {done.stderr}")
    return json.loads(done.stdout)


def usage(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    rss = int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) / 1024
    return cpu, rss


def foreign_load():
    """Processors in use by everything else, over half a second."""
    def busy():
        f = [int(x) for x in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
        return sum(f) - f[3] - f[4]
    a, t = busy(), time.monotonic()
    time.sleep(0.5)
    return (busy() - a) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - t)


def stolen():
    """Processor time that the machine below kept from this one, and all time, in ticks."""
    f = [int(x) for x in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return f[7], sum(f)


# ---- raw limits and peers --------------------------------------------------------------------------

def fdatasync_rate():
    with tempfile.NamedTemporaryFile(dir=odto.SRC) as f:
        f.write(b"\0" * 4096)
        f.flush()
        os.fdatasync(f.fileno())
        n, begin = 0, time.monotonic()
        while time.monotonic() - begin < 1:
            os.pwrite(f.fileno(), b"\1" * 4096, 0)
            os.fdatasync(f.fileno())
            n += 1
        return n / (time.monotonic() - begin)


def beanstalkd(n):
    """Jobs a second of beanstalkd that syncs every write: put, reserve, delete, pipelined by 64 from one Python client."""
    program = shutil.which("beanstalkd", path=os.environ["PATH"] + ":/usr/sbin:/usr/bin")
    if not program:
        return None
    port = odto.free_port()
    with tempfile.TemporaryDirectory(dir=odto.SRC) as d:
        server = subprocess.Popen([program, "-l", "127.0.0.1", "-p", str(port), "-b", d, "-f", "0"])
        try:
            s = odto.wait_until(lambda: socket.create_connection(("127.0.0.1", port)), 10, "beanstalkd listens")
            f = s.makefile("rb")
            body = b"x" * 256
            begin = time.monotonic()
            for _ in range(n // 64):
                s.sendall(b"".join(b"put 0 0 60 256\r\n" + body + b"\r\n" for _ in range(64)))
                for _ in range(64):
                    f.readline()
            for _ in range(n // 64):
                s.sendall(b"reserve\r\n" * 64)
                ids = []
                for _ in range(64):
                    ids.append(f.readline().split()[1])
                    f.read(258)
                s.sendall(b"".join(b"delete %s\r\n" % i for i in ids))
                for _ in range(64):
                    f.readline()
            return n // 64 * 64 / (time.monotonic() - begin)
        finally:
            server.kill()
            server.wait()


# ---- rows ------------------------------------------------------------------------------------------

def durable():
    sync = fdatasync_rate()
    with odto.Host() as host:
        load(host, "-n", JOBS // 6, "-c", 64)
        r = load(host, "-n", JOBS, "-c", 64)
        done = r["done_per_second"]
        row("durable jobs/s, single POST, 64 connections, to COMPLETED", done, "/s", 12000, 30000,
            f"fdatasync {sync:,.0f}/s")
        r = load(host, "-n", max(1000, JOBS // 20), "-c", 1)
        row("one sequential client, durable", r["per_second"], "/s", 1500, 2500, f"fdatasync {sync:,.0f}/s")
    peer = beanstalkd(min(JOBS, 6400))
    row("  peer: beanstalkd -f 0, put + reserve + delete, pipelined", peer or 0, "/s", beside="" if peer else "not installed")
    try:
        with rabbitmq.RabbitMQ(management=False) as broker:
            peer = celery(broker.url, min(JOBS // 10, 4000))
    except odto.Skip:
        peer = None
    row("  peer: Celery on RabbitMQ, acks_late, no publisher confirms", peer or 0, "/s",
        beside=f"odto is {done / peer:.1f} times as fast" if peer else "not installed")


def latency():
    with odto.Host() as host:
        load(host, "-n", 2000, "-c", 16)
        r = load(host, "-n", 25000, "-c", 64, "-R", 5000)
        row("accept p99 at 5,000/s", r["latency_ms"]["p99"], "ms", 10, 5, more=False)
        r = load(host, "-n", 5000, "-c", 64, "-R", 500, "--track")
        row("accept to COMPLETED p99 at 500/s", r["completed_ms"]["p99"], "ms", 10, 5, f"p50 {r['completed_ms']['p50']:.2f} ms", more=False)


def memory_routes():
    changes = {f"route {t}": {"transport": "memory"} for t in ("jobs.created", "jobs.completed")}
    with odto.Host({**changes, "store main": {"sync": "off"}}) as host:
        load(host, "-n", JOBS // 6, "-c", 64)
        r = load(host, "-n", JOBS, "-c", 64)
        row("routes in memory, store without sync", r["done_per_second"], "/s", 25000, 60000)


def handlers():
    changes = {
        "handler cat": {"module": "exec", "types": "cat", "command": "/bin/cat", "concurrency": "8"},
        "handler line": {"module": "pipe", "types": "line", "workers": "2", "concurrency": "256", "window": "64",
                         "command": f"{odto.BUILD}/tests/helpers/job_worker fast"},
        "handler sed": {"module": "pipe", "types": "sed", "workers": "2", "concurrency": "256", "window": "64",
                        "command": "sed -u -E 's/^.*\"id\":\"([^\"]*)\".*$/{\"id\":\"\\1\",\"ok\":true,\"result\":1}/'"},
    }
    with odto.Host(changes) as host:
        sed = load(host, "-n", JOBS // 6, "-c", 64, "-t", "sed")["done_per_second"]
        load(host, "-n", JOBS // 6, "-c", 64, "-t", "line")
        r = load(host, "-n", JOBS // 2, "-c", 64, "-t", "line")
        row("pipe handler", r["done_per_second"], "/s", 5000, 15000,
            f"two children in C, window 64; two of sed -u, which reads byte by byte: {sed:,.0f}/s")
        r = load(host, "-n", max(1000, JOBS // 20), "-c", 64, "-t", "cat")
        row("exec handler", r["done_per_second"], "/s", 600, 1500, "/bin/cat")


def isolated():
    """The same quick C handler on threads of the host and in a worker process; what the worker takes beside."""
    rate, p50 = {}, {}
    memory = {f"route {t}": {"transport": "memory"} for t in ("jobs.created", "jobs.completed")}
    for isolate in ("thread", "process"):
        with odto.Host({**memory, "store main": {"sync": "off"}, "handler builtin": {"isolate": isolate}}) as host:
            load(host, "-n", JOBS // 6, "-c", 64)
            rate[isolate] = load(host, "-n", JOBS // 2, "-c", 64)["done_per_second"]
            p50[isolate] = load(host, "-n", 2000, "-c", 16, "-R", 500, "--track")["completed_ms"]["p50"]
            children = pathlib.Path("/proc", str(host.process.pid), "task").glob("*/children")
            workers = [usage(int(pid))[1] for c in children for pid in c.read_text().split()]
    row("isolate = process: jobs/s of a quick handler", rate["process"], "/s", 10000, 30000,
        f"{rate['thread']:,.0f}/s with isolate = thread")
    row("isolate = process: accept to COMPLETED p50 at 500/s", p50["process"], "ms", 10, 5,
        f"{p50['thread']:.2f} ms with isolate = thread", more=False)
    row("isolate = process: memory of an idle worker", max(workers), "MB", 20, 10, more=False)


def idle():
    host = odto.Host()
    with host:
        pass_ready = []
        load(host, "-n", 200, "-c", 4)
        host.restart()
        pid = host.process.pid
        time.sleep(1)  # what is measured is a second of idling
        cpu, rss = usage(pid)
        time.sleep(5)
        cpu2, rss = usage(pid)
        pass_ready = [float(x) for x in re.findall(r"ready in ([0-9.]+) ms", host.log)]
        row("idle: resident memory", rss, "MB", 25, 12, more=False)
        row("idle: CPU", (cpu2 - cpu) / 5 * 100, "%", 0.5, 0.2, more=False)
        row("start to ready (second start)", pass_ready[-1], "ms", 300, 50, more=False)


def backlog():
    changes = {"handler slow": {"module": "builtin", "types": "sleep", "concurrency": "1"},
               "handler builtin": {"module": "builtin", "types": "echo, fail", "concurrency": "64"}}
    with odto.Host(changes) as host:
        load(host, "-n", JOBS // 6, "-c", 64)
        before = load(host, "-n", JOBS // 6, "-c", 64)["done_per_second"]
        load(host, "-n", BACKLOG, "-c", 64, "-t", "sleep", "-p", '{"ms":3600000}', "-w", 0)
        odto.wait_until(lambda: host.stats()["pendingJobs"] >= BACKLOG - 1000, 300, "the backlog is in the store")
        rss = usage(host.process.pid)[1]
        row(f"memory with {BACKLOG:,} jobs waiting", rss, "MB", 100, 100, more=False)
        begin = host.stats()["completedJobs"]
        t = time.monotonic()
        load(host, "-n", JOBS // 6, "-c", 64, "-w", 0)
        odto.wait_until(lambda: host.stats()["completedJobs"] - begin >= JOBS // 6, 120, "the other type is done")
        after = JOBS // 6 / (time.monotonic() - t)
        row(f"jobs/s of another type behind {BACKLOG:,} waiting, share of none", after / before, "x", 0.5, 0.9)


class Cluster:
    """Private servers and one host per role, as tools/up --servers has them; looks like a Host to load()."""

    def __enter__(self):
        sys.path.insert(0, str(odto.SRC / "tools" / "up.d"))
        import up
        folder = pathlib.Path(tempfile.mkdtemp(prefix="odto-bench-"))
        folder.chmod(0o755)
        self.up, self.folder, up.say = up.Up(folder), folder, lambda *_: None
        try:
            self.up.start()
        except BaseException:
            self.__exit__()
            raise
        self.gateway, self.read_model = (odto.Client(self.up.role(r).port) for r in ("gateway", "read-model"))
        return self

    def __exit__(self, *_):
        self.up.stop()
        tempfile.tempdir = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def server(self, name):
        return next(s[1] for s in self.up.servers if s[0].startswith(name))

    def cpu(self):
        """{server or role: seconds of processor time of its processes}."""
        roots = {**{s[0]: s[1].process.pid for s in self.up.servers}, **{f"the host {r.name}": r.process.pid for r in self.up.roles}}
        parent, used = {}, {}
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                f = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            pid = int(stat.parent.name)
            parent[pid], used[pid] = int(f[1]), sum(map(int, f[11:15])) / os.sysconf("SC_CLK_TCK")
        sums = dict.fromkeys(roots, 0.0)
        for pid in used:
            up = pid
            while up and up not in roots.values():
                up = parent.get(up, 0)
            for name in (n for n, root in roots.items() if root == up):
                sums[name] += used[pid]
        return sums


def mongo_raw(server, n=10000):
    """Documents a second: those that the hosts wrote, again, in bulks of 1,000, one after the other, by a client that does nothing
    else, into a collection with the same indexes."""
    import mongo
    database = "observatory"
    some = [d for d, _ in zip(server.every(database, "job_events"), range(1000))]
    for index in server.run(database, {"listIndexes": "job_events"})["cursor"]["firstBatch"]:
        if index["name"] != "_id_":
            server.run(database, {"createIndexes": "raw", "indexes": [{k: v for k, v in index.items() if k != "v"}]})
    bulks = []
    for _ in range(n // 1000):
        for d in some:
            d["_id"] = d["eventid"] = odto.uuid7()
        bulks.append(mongo.message({"insert": "raw", "ordered": False, "writeConcern": {"w": "majority", "j": True},
                                    "documents": some, "$db": database}))
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port)) as s:
        for bulk in bulks:
            s.sendall(bulk)
            odto.equal(mongo.decode(mongo.read_message(s), 21).get("n"), 1000, "documents inserted")
    return n / (time.monotonic() - begin)


def redis_raw(server, n=64000, batch=64):
    """Events a second: one transaction after the other that remembers a batch of ids and adds to two counters, each synced."""
    def commands(begin):
        ids = [w for i in range(begin, begin + batch) for w in (i, odto.uuid7())]
        return b"".join(server.encoded(*words) for words in
                        (("MULTI",), ("ZADD", "raw:seen", "NX", *ids), ("INCRBY", "raw:total", batch), ("INCRBY", "raw:completed", batch), ("EXEC",)))
    batches = [commands(i) for i in range(0, n, batch)]
    with socket.create_connection(("127.0.0.1", server.port)) as s, s.makefile("rb") as f:
        begin = time.monotonic()
        for b in batches:
            s.sendall(b)
            replies = [server.reply(f) for _ in range(5)]
            odto.equal(replies[-1][0], batch, "ids that are new")
        return n / (time.monotonic() - begin)


def program(name, *args):
    done = subprocess.run([str(odto.BUILD / "tests" / "bench" / name), *args], capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise odto.Failed(f"{name}: {done.stdout} {done.stderr}")
    return done.stdout


def raw_limits(c, kind, done):
    """What each server alone does of what a job asks of it, all of the machine for it and one client, and the whole path's share."""
    def limit(what, rate):
        row(f"  raw: {what}", rate, "/s", beside=f"the whole path has {done / rate:.2f} of it", more=True)
    import rabbitmq
    with rabbitmq.RabbitMQ(management=False) as broker:  # the hosts consume from the queues of the other
        text = program("bench_rabbitmq", str(odto.BUILD / ".libs" / "rabbitmq.so"), broker.url, "20000", "3")
    publish, consume = map(float, re.findall(r"librabbitmq +(\d+)", text))
    limit("RabbitMQ, two messages published, confirmed, consumed, acknowledged", 1 / (2 / publish + 2 / consume))
    pg = c.server("PostgreSQL")
    pg.sql("CREATE DATABASE raw")
    text = program("bench_postgres", "--url", pg.url_of("raw"), "--jobs", "20000", "--backlog", "20000")
    limit("PostgreSQL, the rows of a job in groups", float(re.search(r"plain, all three +(\d+)", text)[1]))
    limit("Redis, an event counted once, by 64", redis_raw(c.server("Redis")))
    limit(f"{kind}, the same documents, bulks of 1,000", mongo_raw(c.server("MongoDB")))


def celery(url, n):
    """Tasks a second, or None where it is not installed."""
    for python in ("/usr/bin/python3", sys.executable):
        if subprocess.run([python, "-c", "import celery"], capture_output=True).returncode == 0:
            here = pathlib.Path(__file__).parent
            done = subprocess.run([python, str(here / "celery_peer.py"), url, str(n)], cwd=here, capture_output=True, text=True,
                                  timeout=300)
            return float(done.stdout) if done.returncode == 0 else None
    return None


def servers():
    with Cluster() as c:
        kind = [s[0] for s in c.up.servers][-1]
        load(c, "-n", JOBS // 12, "-c", 64)
        before = c.cpu()
        r = load(c, "-n", JOBS // 2, "-c", 64)
        after, r_done = c.cpu(), r["done_per_second"]
        row("RabbitMQ + PostgreSQL + Redis + MongoDB's protocol, jobs/s", r["done_per_second"], "/s", 3000, 8000,
            f"accepted {r['per_second']:,.0f}/s; {kind}")
        for name in after:
            row(f"  processor time of {name} a job", (after[name] - before[name]) * 1e6 / (JOBS // 2), "us")
        r = load(c, "-n", 5000, "-c", 64, "-R", 1000, "--track")
        row("  accept to COMPLETED p99 at 1,000/s", r["completed_ms"]["p99"], "ms", 50, 20, f"p50 {r['completed_ms']['p50']:.2f} ms",
            more=False)
        raw_limits(c, kind, r_done)
        for role in c.up.roles:
            row(f"  memory of the host {role.name}", usage(role.process.pid)[1], "MB", 30, 20, more=False)
        peer = celery(c.server("RabbitMQ").url, min(JOBS // 6, 10000))
        row("  peer: Celery on RabbitMQ, acks_late, 2 processes, no result", peer or 0, "/s", beside="" if peer else "not installed")


def printed(name, pattern):
    """What the C benchmark prints, and the figure that the pattern finds in it, as numbers."""
    path = odto.BUILD / "tests" / "bench" / name
    if not path.exists():
        raise odto.Failed(f"{path} is not built")
    text = subprocess.run([str(path)], capture_output=True, text=True, timeout=900, check=True).stdout
    return text, [float(x) for x in re.findall(pattern, text)]


def route():
    text, rates = printed("bench_route", r"route, batch \d+[^0-9\n]* (\d+) ")
    ring = re.findall(r"bare ring, batch \d+ +(\d+)", text)
    row("route in memory, 256-byte events, batch 64", rates[0] / 1e6, "M/s", 5, 10, f"a ring that keeps nothing {float(ring[0]) / 1e6:.0f} M/s")
    row("route in memory, batch 1 with wake-ups", rates[1] / 1e6, "M/s", 1, 3, f"the ring {float(ring[1]) / 1e6:.0f} M/s")


def spool():
    _, shares = printed("bench_spool", r"share ([0-9.]+)")
    # the disk alone is asked for the same bytes a sync; it keeps no order, no checksum and no reader
    row("spool, group commit: share of SQLite, as many a transaction", shares[1], "x", 0.5, 0.8, f"share of the bare disk {shares[0]:.2f}")


def programs():
    """Figures of the C benchmarks, as they print them."""
    for name in ("bench_sqlite", "bench_wire", "bench_http.sh"):
        path = odto.BUILD / "tests" / "bench" / name
        if name.endswith(".sh"):
            path = odto.SRC / "tests" / "bench" / name
        if not path.exists():
            continue
        done = subprocess.run([str(path)] + ([str(odto.BUILD)] if name.endswith(".sh") else []), capture_output=True, text=True,
                              timeout=900)
        print(f"---- {name} (exit {done.returncode})")
        print(done.stdout + done.stderr, end="", flush=True)
        if done.returncode not in (0, 77):
            rows.append((name, 0, "", 1, 1, "UNDER", ""))


def postgres_store():
    """The store postgres beside plain group inserts and updates of the same server: at least half of them. And the whole path of a host
    with its jobs there."""
    import postgres
    program = odto.BUILD / "tests" / "bench" / "bench_postgres"
    why = postgres.missing() or (None if program.exists() else "bench_postgres is not built")
    if why:
        print(f"postgres_store: {why}")
        return
    with postgres.Postgres({"shared_buffers": "'256MB'", "max_wal_size": "'2GB'"}) as pg:
        done = subprocess.run([str(program), "--url", pg.url, "--jobs", str(JOBS // 2), "--backlog", str(BACKLOG // 5)],
                              capture_output=True, text=True, timeout=900)
        print(done.stdout + done.stderr, end="", flush=True)
        share = re.search(r"accept ([\d.]+), finish ([\d.]+), path ([\d.]+)", done.stdout)
        for i, what in enumerate(("accept and claim", "finish", "whole path"), 1):
            row(f"postgres store: {what}, share of plain PostgreSQL", float(share[i]) if share else 0, "", 0.5, 0.8)
        pg.sql("CREATE DATABASE host")
        changes = {"store jobs": {"module": "postgres", "url": pg.url_of("host")}, "plugin processor": {"jobs": "jobs"},
                   "plugin read-model": {"jobs": "jobs"}}
        with odto.Host(changes) as host:
            got = load(host, "-n", JOBS, "-c", 64)
            row("whole path of a host with jobs in PostgreSQL", got["done_per_second"], "jobs/s", 3000, 8000)


def bench_pty(*args):
    """Figures that bench_pty prints, by name: the median of five runs."""
    runs = []
    for _ in range(5):
        done = subprocess.run([str(odto.BUILD / "tests" / "bench" / "bench_pty"), *args], capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise odto.Failed(f"bench_pty {args}: {done.stdout} {done.stderr}")
        words = done.stdout.split()
        runs.append(dict(zip(words[::2], map(float, words[1::2]))))
    return {k: statistics.median(r[k] for r in runs) for k in runs[0]}


def terminals():
    """Terminals over WebSockets. ttyd is not in Debian 12: its figures were measured elsewhere, on 2 virtual CPUs of the same kind."""
    from terminal import Broker
    ends = {"disconnect_grace": "0", "idle_timeout": "0", "kill_grace": "200ms"}  # with its connection: floods do not go on
    with tempfile.NamedTemporaryFile() as text, Broker({"per_ip_cap": 500, "global_cap": 500, **ends}) as b:
        text.write((b"%099d\n" % 7) * 1_000_000)
        text.flush()
        port, file = ("--port", str(b.port)), ("--file", text.name)
        most = bench_pty(*file, "ceiling")["mb_s"]
        r = bench_pty(*port, *file, "throughput")
        row("terminal: cat of 100 MB to one client", r["mb_s"], "MB/s", 60, 80,
            f"read from the terminal itself {most:.0f}; ttyd elsewhere 63-81; {r['frame']:,.0f} bytes a frame")
        row("  the same, JSON protocol", bench_pty(*port, *file, "--json", "throughput")["mb_s"], "MB/s", beside="no floor")
        for polls in (["--poll"], []):
            r, least = bench_pty(*port, *polls, "echo"), bench_pty(*polls, "relay")
            row("terminal: key to echo p50" if polls else "  the same to a client that sleeps while it waits", r["p50_us"], "us",
                *((100, 80) if polls else ()), beside=f"carried by a process that does nothing else {least['p50_us']:.0f}; "
                f"ttyd elsewhere 73-93", more=False)
        row("terminal: key to echo p99", r["p99_us"] / 1e3, "ms", 1, 0.5, f"carried {least['p99_us'] / 1e3:.2f}; "
            "ttyd elsewhere 0.35-0.63 quiet, 2-5 loaded", more=False)
        r = bench_pty(*port, "--flood", "echo")
        row("terminal: key to echo p99 while another session floods", r["p99_us"] / 1e3, "ms", 5, 2, f"p50 {r['p50_us'] / 1e3:.2f} ms",
            more=False)
        r = bench_pty(*port, "interrupt")
        row("terminal: Ctrl-C in yes to its last byte", r["max_ms"], "ms", 100, 20, "the longest of ten", more=False)
    terminals_idle()
    terminals_restore()


def terminals_idle():
    from terminal import Broker
    with Broker({"per_ip_cap": 1000, "global_cap": 1000, "kill_grace": "200ms"}) as b:
        first = b.binary().expect("sh>")
        before, threads = b.rss(), b.threads()
        held = [b.binary().expect("sh>") for _ in range(100)]
        row("terminal: memory of the host a session (100 idle ones)", (b.rss() - before) / 1024 / 100, "KiB", 600, 200,
            f"{b.threads() - threads} threads more; ttyd elsewhere 14 KiB and a thread, without a screen of its own", more=False)
        held += [b.binary().expect("sh>") for _ in range(700)]
        row("terminal: key to echo p50 among 800 idle sessions", bench_pty("--port", str(b.port), "--poll", "echo")["p50_us"], "us",
            beside="no floor", more=False)
        for c in [first, *held]:
            c.close()


def terminals_restore():
    """Bytes that bring a screen back, and cells that differ from it, of full-screen programs."""
    from terminal import Broker
    sys.path.insert(0, str(odto.SRC / "tests" / "integration"))
    import pty_restore
    largest, which, wrong = 0, "", 0
    for name, arguments, keys in pty_restore.PROGRAMS:
        if not shutil.which(name):
            continue
        with Broker(program=name, arguments=arguments) as b:
            c = pty_restore.shown(b)
            for key in keys:
                pty_restore.press(c, key)
            size, cells = pty_restore.compared(b, c)
            wrong += cells
            largest, which = max((largest, which), (size, name))
    row("terminal: bytes that restore a full-screen program", largest, "bytes", 8192, 4096, f"the most, {which}", more=False)
    row("  cells that are wrong then", wrong, "", 0, 0, more=False)


def dashboard():
    text = subprocess.run([str(odto.BUILD / "tests" / "bench" / "bench_dashboard"), "--program", str(odto.BUILD / "odto-dashboard")],
                          capture_output=True, text=True, timeout=300, check=True).stdout

    def figure(what, quantile):
        return float(re.search(rf"{re.escape(what)} +.*{quantile} ([0-9.]+) ms", text)[1])
    row("dashboard: exec to first frame p50", figure("first frame", "p50"), "ms", 200, 50, more=False)
    row("dashboard: exec to first frame with 10,000 jobs p50", figure("first frame with jobs", "p50"), "ms", 200, 50, more=False)
    row("dashboard: key to frame p99, moving among 10,000 jobs", figure("key, moving in the list", "p99"), "ms", 20, 5, more=False)
    row("dashboard: key to frame p99, typing a filter", figure("key, typing a filter", "p99"), "ms", 20, 10, more=False)


ALL = {"durable": durable, "memory_routes": memory_routes, "latency": latency, "handlers": handlers, "isolated": isolated, "idle": idle,
       "route": route, "spool": spool, "backlog": backlog, "servers": servers, "programs": programs,
       "postgres_store": postgres_store, "terminals": terminals,
       "dashboard": dashboard}


def main():
    chosen = sys.argv[1:] or list(ALL)
    print(f"# {time.strftime('%Y-%m-%d')}  {os.cpu_count()} CPUs  {os.uname().machine}  Linux {os.uname().release}  "
          f"used by others: {foreign_load():.2f} CPUs")
    for name in chosen:
        before = stolen()
        try:
            ALL[name]()
        except Exception as e:  # noqa: BLE001 - a row that can't be had is under its floor
            print(f"{name}: {e}")
            rows.append((name, 0, "", 1, 1, "UNDER", str(e)))
        lost, time_in_all = (b - a for a, b in zip(before, stolen()))
        if lost > time_in_all * 0.02:
            print(f"# the machine below this one kept {100 * lost / time_in_all:.0f} % of the processors meanwhile", flush=True)
    under = [r[0] for r in rows if r[5] == "UNDER"]
    print(f"# used by others at the end: {foreign_load():.2f} CPUs; under their floor: {', '.join(under) or 'none'}")
    sys.exit(bool(under))


main()
