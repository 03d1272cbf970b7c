#!/usr/bin/env python3
"""The bridge rabbitmq: real hosts on a real broker, and an independent client (pika) to the letter of the contract."""
import base64
import json
import os
import pathlib
import sys
import tempfile
import threading
import time
import uuid

sys.path.insert(0, __file__.rsplit("/", 2)[0] + "/lib")
import odto
import rabbitmq

suite = odto.Suite()
TOPICS = ("jobs.created", "jobs.completed", "jobs.failed.validation")


def bridged(url, more=None, **bridge):
    """Changes of a manifest: all routes go over the broker."""
    changes = {"bridge rabbit": {"module": "rabbitmq", "urls": url, "backoff": "50ms", "backoff_max": "500ms", **bridge}}
    for t in TOPICS:
        changes[f"route {t}"] = {"transport": "rabbit"}
    for section, keys in (more or {}).items():
        changes[section] = {**changes.get(section, {}), **keys} if keys is not None else None
    return changes


def gateway_only(url, more=None, **bridge):
    gone = {s: None for s in ("plugin processor", "plugin metrics", "plugin read-model", "handler builtin")}
    return bridged(url, {**gone, **(more or {})}, **bridge)


SPOOLED = {"route jobs.created": {"spool": "yes"}}


class Pika:
    """An independent client: declares and publishes as the contract says."""

    def __init__(self, url):
        self.pika = rabbitmq.pika_or_skip()
        self.connection = rabbitmq.connect(url)
        self.channel = self.connection.channel()

    def declare(self, queue, **arguments):
        return self.channel.queue_declare(queue, durable=True, arguments=arguments or None).method.message_count

    def publish(self, queue, body, **more):
        props = self.pika.BasicProperties(content_type="application/json", delivery_mode=2, **more)
        self.channel.basic_publish("", queue, body if isinstance(body, bytes) else json.dumps(body).encode(), props)

    def get(self, queue, timeout=10):
        """The next message, acknowledged: (properties, body)."""
        def next_one():
            method, props, body = self.channel.basic_get(queue, auto_ack=True)
            return (props, body) if method else None
        return odto.wait_until(next_one, timeout, f"a message in {queue}")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.connection.close()


def envelope(event="job.created", **members):
    j = odto.job()
    e = {"contractVersion": "1.0.0", "eventType": event, "eventId": str(uuid.uuid4()), "occurredAt": odto.now_text(),
         "producer": {"service": "gateway", "instanceId": "test", "version": "1"}, "correlationId": str(uuid.uuid4()),
         "idempotencyKey": j["id"], "payload": j}
    e.update(members)
    return e


def submit(host, n, prefix="", **members):
    ids = []
    connection = host.gateway.keep()
    for _ in range(n):
        j = odto.job(**members)
        r = host.gateway.request("POST", "/jobs", j, connection=connection)
        odto.equal(r.status, 202, r.text)
        ids.append(j["id"])
    connection.close()
    return ids


def completed(host, n, timeout=30):
    try:
        odto.wait_until(lambda: host.stats()["completedJobs"] >= n, timeout, f"{n} jobs are completed")
    except odto.Failed:
        odto.diag(f"stats {host.stats()}; queues {BROKER and BROKER.api('GET', '/api/queues')}; log {host.log[-6000:]}")
        raise
    odto.equal(host.stats()["totalJobs"], n, "jobs counted")


BROKER = None


def broker():
    """One broker for the tests that leave it as it was; purged."""
    global BROKER
    if BROKER is None:
        BROKER = rabbitmq.RabbitMQ().start()
    elif BROKER.process is None or BROKER.process.poll() is not None:
        BROKER.start()
    for name in BROKER.queues():
        BROKER.api("DELETE", f"/api/queues/%2f/{name}")
    return BROKER


@suite.test("jobs go over the broker and back; queues are durable without arguments")
def _():
    b = broker()
    with odto.Host(bridged(b.url)) as host:
        submit(host, 50)
        completed(host, 50)
        odto.wait_until(lambda: set(TOPICS[:2]) <= set(b.queues()), 10, "the queues are there")
        for name in TOPICS[:2]:
            q = b.queue(name)
            odto.equal((q["durable"], q["arguments"], q["auto_delete"], q["exclusive"]), (True, {}, False, False), name)
        odto.wait_until(lambda: b.depth("jobs.created") == (0, 0) and b.depth("jobs.completed") == (0, 0), 10,
                        "all is acknowledged")
        names = odto.wait_until(lambda: len(b.connections()) == 2 and sorted(b.connections()), 10, "two connections")
        odto.check(names[0].endswith("consume") and names[1].endswith("publish"), names)


@suite.test("a job as deep as the gateway lets through is executed and counted behind the broker")
def _():
    payload = {}
    for _ in range(97):
        payload = {"a": payload}
    b = broker()
    with odto.Host(bridged(b.url, {"plugin gateway": {"max_depth": "100"}})) as host:
        host.wait_job(host.submit(payload=payload), states=("COMPLETED",))
        odto.wait_until(lambda: host.stats()["totalJobs"] == 1, 10, "it is counted")
        odto.equal(b.depth("jobs.failed.validation") or (0, 0), (0, 0), "dead letters")


@suite.test("what is published is to the letter of the contract; what a client publishes is taken")
def _():
    b = broker()
    with odto.Host(gateway_only(b.url)) as host, Pika(b.url) as client:
        [job_id] = submit(host, 1)
        props, body = client.get("jobs.created")
        e = json.loads(body)
        odto.equal((props.content_type, props.delivery_mode), ("application/json", 2), "properties")
        odto.equal((props.message_id, props.correlation_id), (e["eventId"], e["correlationId"]), "ids")
        odto.equal((e["eventType"], e["payload"]["id"], e["idempotencyKey"]), ("job.created", job_id, job_id), "event")
    with odto.Host(bridged(b.url, {"plugin metrics": None})) as host, Pika(b.url) as client:
        client.declare("jobs.created")
        client.declare("jobs.completed")  # as others do; asking an undeclared one would close the channel
        e = envelope(extra={"kept": True})
        client.publish("jobs.created", e)
        host.wait_job(e["payload"]["id"])
        props, body = client.get("jobs.completed")
        done = json.loads(body)
        odto.equal((done["eventType"], done["correlationId"], done["producer"]["service"]),
                   ("job.completed", e["correlationId"], "processor"), "completion")
        odto.equal((props.message_id, props.correlation_id), (done["eventId"], done["correlationId"]), "ids")
        odto.check(done["eventId"] != e["eventId"], "a new event id")


@suite.test("poison of every kind becomes a dead letter with its reason, and the queue flows on")
def _():
    b = broker()
    with odto.Host(bridged(b.url)) as host, Pika(b.url) as client:
        for t in TOPICS:
            client.declare(t)
        good = envelope()
        big = json.dumps(envelope(payload=odto.job(id="no uuid", payload={"text": "x" * (10 << 20)})))
        poison = [(b"{nothing", "JSON"), (b"[1,2]", "object"), (b"\xff\xfe", "JSON"), (b"", "JSON"),
                  (json.dumps(envelope(eventId=None)).encode(), "eventId"),
                  (json.dumps(envelope("job.exploded")).encode(), "eventType"),
                  (json.dumps(envelope("job.completed")).encode(), "job.created"),
                  (json.dumps(envelope(eventId="urn:uuid:" + str(uuid.uuid4()))).encode(), "eventId"),
                  (big.encode(), "id")]
        for body, _ in poison:
            client.publish("jobs.created", body)
        client.publish("jobs.created", good)
        client.publish("jobs.created", good)  # a duplicate is not poison
        host.wait_job(good["payload"]["id"])
        completed(host, 1)
        letters = []
        for body, reason in poison:
            props, text = client.get("jobs.failed.validation", 20)
            letter = json.loads(text)
            odto.equal((props.content_type, props.delivery_mode), ("application/json", 2), "properties")
            odto.equal(letter["service"], "processor")
            odto.matches(letter["rejected_at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
            letters.append(letter)
        for body, reason in poison:
            found = [x for x in letters if original(x) == parsed(body)]
            odto.equal(len(found), 1, f"letters of {body[:60]!r}")
            odto.contains(found[0]["validation_error"], reason, f"reason of {body[:60]!r}")
        odto.wait_until(lambda: b.depth("jobs.created") == (0, 0), 10, "the queue is empty")


def parsed(body):
    try:
        return json.loads(body)
    except ValueError:
        try:
            return body.decode()
        except UnicodeDecodeError:
            return base64.b64encode(body).decode()


def original(letter):
    return letter.get("original_event", letter.get("original_event_base64"))


@suite.test("dead letters: list, show, requeue, purge over the broker")
def _():
    b = broker()
    with odto.Host(bridged(b.url)) as host, Pika(b.url) as client:
        for t in TOPICS:
            client.declare(t)
        for i in range(5):
            client.publish("jobs.created", f"not json {i}".encode())
        odto.wait_until(lambda: b.depth("jobs.failed.validation") == (5, 0), 10, "five dead letters")
        first = json.loads(host.odto("dlq", "list", "--limit", "2", "--json").stdout)
        odto.equal(len(first["letters"]), 2)
        listed = json.loads(host.odto("dlq", "list", "--json").stdout)["letters"]
        odto.equal(len({x["id"] for x in listed}), 5, "ids")
        odto.contains(listed[0]["reason"], "JSON")
        shown = host.odto("dlq", "show", listed[3]["id"], "--json")
        odto.contains(shown.stdout, "not json 3", shown.stderr)
        r = host.odto("dlq", "purge", listed[3]["id"], "--yes")
        odto.equal(r.returncode, 0, r.stderr)
        odto.wait_until(lambda: b.depth("jobs.failed.validation") == (4, 0), 10, "one less")
        r = host.odto("dlq", "purge", "--all", "--yes")
        odto.equal(r.returncode, 0, r.stderr)
        odto.wait_until(lambda: b.depth("jobs.failed.validation") == (0, 0), 10, "none left")
        # one that can be mended: a completion in the wrong queue goes where it belongs
        client.publish("jobs.created", envelope("job.completed"))
        odto.wait_until(lambda: b.depth("jobs.failed.validation") == (1, 0), 10, "a dead letter")
        r = host.odto("dlq", "requeue", "--all", "--yes")
        odto.equal(r.returncode, 0, r.stdout + r.stderr)
        odto.wait_until(lambda: host.stats()["completedJobs"] == 1, 10, "it is counted")
        odto.wait_until(lambda: b.depth("jobs.failed.validation") == (0, 0), 10, "none left")
        client.publish("jobs.failed.validation", {"validation_error": "left by somebody else"})

        def waits():
            routes = {x["topic"]: x for x in json.loads(host.odto("routes", "--json").stdout)["routes"]}
            r = routes["jobs.failed.validation"]
            return r["transport"] == "rabbit" and r.get("remote") == 1
        odto.wait_until(waits, 10, "odto routes tells what waits at the broker", every=0.2)


@suite.test("the broker is away: the gateway spools up to its bound, then answers 503; nothing accepted is lost")
def _():
    b = broker()
    with odto.Host(gateway_only(b.url, {"route jobs.created": {"spool": "yes", "capacity": "200", "overflow": "reject"}},
                                give_up="500ms")) as gateway:
        accepted = submit(gateway, 1)
        b.settle()
        accepted += submit(gateway, 19)
        odto.wait_until(lambda: b.depth("jobs.created") == (20, 0), 10, "confirmed")
        b.kill()
        status, n = 202, 0
        while status == 202 and n < 1000:
            j = odto.job()
            r = gateway.gateway.post("/jobs", j)
            status, n = r.status, n + 1
            if status == 202:
                accepted.append(j["id"])
        odto.equal(status, 503, r.text)
        odto.check(r.header("Retry-After"), "Retry-After")
        odto.check(150 <= len(accepted) - 20 <= 200, f"{len(accepted) - 20} accepted while away")
        gateway.kill()  # what is spooled survives the host as well
        gateway.wait = False  # it is full, so not ready
        gateway.start()
        b.start()
        with odto.Host(bridged(b.url)) as host:
            completed(host, len(accepted))
            for i in accepted:
                odto.equal(host.job(i)["status"], "COMPLETED", i)
        odto.wait_until(lambda: gateway.gateway.post("/jobs", odto.job()).status == 202, 10, "accepting again")


@suite.test("kill -9 of the broker and of the host under load loses nothing and ends each job once")
def _():
    b = broker()
    with odto.Host(gateway_only(b.url, SPOOLED, give_up="500ms")) as gateway, odto.Host(bridged(b.url)) as host:
        accepted, stop, most = [], threading.Event(), [200]

        def produce():
            while not stop.wait(0 if len(accepted) < most[0] else 0.02):
                if len(accepted) >= most[0]:
                    continue
                j = odto.job()
                try:
                    if gateway.gateway.post("/jobs", j).status == 202:
                        accepted.append(j["id"])
                except OSError:
                    pass
        threads = [threading.Thread(target=produce) for _ in range(3)]
        for t in threads:
            t.start()
        try:
            for victim in ("host", "broker", "host"):
                seen = len(accepted)
                most[0] = seen + 400
                odto.wait_until(lambda: len(accepted) > seen + 100, 20, "jobs are accepted")
                if victim == "broker":
                    b.kill()
                    b.start()
                else:
                    host.kill()
                    host.start()
        finally:
            stop.set()
            for t in threads:
                t.join()
        completed(host, len(accepted), 60)
        odto.diag(f"{len(accepted)} accepted")


@suite.test("an orderly restart of the broker costs nothing")
def _():
    b = broker()
    with odto.Host(bridged(b.url, SPOOLED)) as host:
        submit(host, 20)
        b.restart()
        submit(host, 20)
        completed(host, 40)


@suite.test("a blocked connection: publishing stops, the spool takes over, and it goes on")
def _():
    b = broker()
    with odto.Host(bridged(b.url, SPOOLED, give_up="300ms")) as host:
        submit(host, 5)
        completed(host, 5)
        b.block()
        try:
            accepted = submit(host, 50)
            odto.wait_until(lambda: host.gateway.metrics().get('odto_bridge_blocked{bridge="rabbit"}') == 1, 10, "blocked")
            odto.check(host.gateway.ready(), "the gateway still accepts")
        finally:
            b.block(False)
        completed(host, 55)
        odto.equal(host.gateway.metrics()['odto_bridge_blocked{bridge="rabbit"}'], 0)
        odto.equal(len(accepted), 50)


@suite.test("without a spool, a broker that is away or blocked is a quick 503")
def _():
    b = broker()
    with odto.Host(gateway_only(b.url, give_up="300ms")) as host:
        submit(host, 1)
        b.block()
        try:
            host.gateway.post("/jobs", odto.job())  # the broker blocks a connection that publishes
            odto.wait_until(lambda: host.gateway.post("/jobs", odto.job()).status == 503, 10, "503 while blocked")
            not_ready(host)
        finally:
            b.block(False)
        odto.wait_until(lambda: host.gateway.post("/jobs", odto.job()).status == 202, 10, "accepted again")
        odto.check(host.gateway.ready(), "ready again")


@suite.test("without a spool, an idle gateway is as ready as its broker is there")
def _():
    b = broker()
    with odto.Host(gateway_only(b.url, give_up="300ms")) as host:
        odto.check(host.gateway.ready(), "ready")
        b.shutdown()
        odto.wait_until(lambda: not host.gateway.ready(), 20, "not ready while the broker is away")
        not_ready(host)
        b.start()
        odto.wait_until(host.gateway.ready, 30, "ready again")
        submit(host, 1)


def not_ready(host):
    r = host.gateway.get("/healthz")
    odto.equal(r.status, 503)
    odto.equal(r.json["status"], "not_ready")
    odto.contains(r.json["reason"], "the broker of the route jobs.created is away")


@suite.test("a returned message is a failure, not a success; the queue is declared again")
def _():
    b = broker()
    with odto.Host(gateway_only(b.url, SPOOLED)) as host, Pika(b.url) as client:
        submit(host, 1)
        odto.wait_until(lambda: b.depth("jobs.created") == (1, 0), 10, "the first is there")
        client.channel.queue_delete("jobs.created")
        submit(host, 5)  # the queue is gone: returned, declared, published again
        odto.wait_until(lambda: b.depth("jobs.created") == (5, 0), 10, "the rest is there")
        m = host.gateway.metrics()
        odto.check(m['odto_bridge_confirms_total{result="returned"}'] >= 1, "a return was seen")


@suite.test("a queue with other arguments: an error that names both, and it heals")
def _():
    b = broker()
    with Pika(b.url) as client:
        client.declare("jobs.created", **{"x-queue-type": "quorum"})
        with odto.Host(gateway_only(b.url, SPOOLED)) as host:
            submit(host, 3)
            odto.wait_until(lambda: "inequivalent" in host.log, 10, "the error is logged")
            line = [x for x in host.log.splitlines() if "inequivalent" in x][0]
            odto.contains(line, "durable without arguments")
            odto.contains(line, "x-queue-type")
            odto.contains(line, "quorum")
            odto.contains(host.odto("health", "--json").stdout, "inequivalent")
            client.channel.queue_delete("jobs.created")
            odto.wait_until(lambda: b.depth("jobs.created") == (3, 0), 20, "published after all")
            odto.wait_until(lambda: "inequivalent" not in host.odto("health", "--json").stdout, 10, "nothing is wrong any more")


@suite.test("refused credentials and a missing vhost: said once, without the password")
def _():
    b = broker()
    for url, want, hint in ((f"amqp://guest:secretword@127.0.0.1:{b.port}/%2f", "ACCESS_REFUSED", "password"),
                            (f"amqp://guest:guest@127.0.0.1:{b.port}/nowhere", "not found", "add_vhost nowhere")):
        with odto.Host(gateway_only(url, SPOOLED)) as host:
            odto.wait_until(lambda: want in host.log, 10, want)
            r = host.gateway.post("/jobs", odto.job())
            odto.equal(r.status, 202, "spooled")
            odto.contains(host.log, hint)
            odto.check("secretword" not in host.log, "no password in the log")
            plugins = json.loads(host.odto("plugins", "--json").stdout)["plugins"]
            odto.check("secretword" not in json.dumps(plugins), "nor in the status")
            health = host.odto("health", "--json").stdout
            odto.contains(health, want)
            odto.equal(host.log.count(f'msg="publish: can\'t log in'), 1, "said once")


@suite.test("RABBITMQ_URL replaces the manifest's; of several URLs one that answers is taken")
def _():
    b = broker()
    dead = odto.free_port()
    env = {"RABBITMQ_URL": f"amqp://guest:guest@127.0.0.1:{dead}, amqp://guest:guest@127.0.0.1:{b.port}/"}
    with odto.Host(bridged("amqp://127.0.0.1:1/"), env=env) as host:
        submit(host, 3)
        completed(host, 3)


@suite.test("TLS with an authority of one's own; an unknown one is refused with a reason")
def _():
    with tempfile.TemporaryDirectory(prefix="odto-ca-") as ca:
        rabbitmq.authority(ca)
        with rabbitmq.RabbitMQ(tls=ca, management=False) as b:
            url = f"amqps://guest:guest@localhost:{b.tls_port}/%2f"
            with odto.Host(bridged(url, ca_file=f"{ca}/ca.pem")) as host:
                submit(host, 20)
                completed(host, 20)
            with odto.Host(gateway_only(url, SPOOLED)) as host:
                odto.wait_until(lambda: "can't connect to amqps" in host.log, 10, "refused")
                odto.contains(host.log, "ca_file must hold the authority")


@suite.test("a job longer than the broker's consumer_timeout costs no channel: its message is acknowledged when it is claimed")
def _():
    # this broker takes a channel away whose delivery was not acknowledged for a second; it looks twice a second
    with tempfile.TemporaryDirectory(prefix="odto-wait-") as folder, \
            rabbitmq.RabbitMQ(advanced="{consumer_timeout, 1000}, {channel_tick_interval, 500}") as b:
        end = pathlib.Path(folder, "end")
        waits = {"handler wait": {"module": "exec", "types": "wait", "timeout": "1h",
                                  "command": f"/bin/sh -c 'until [ -e {end} ]; do sleep 0.1; done'"}}
        with odto.Host(gateway_only(b.url)) as gateway, \
                odto.Host(bridged(b.url, {"plugin gateway": None, **waits})) as host, Pika(b.url) as other:
            ids, began = submit(gateway, 3, type="wait"), time.monotonic()
            odto.wait_until(lambda: all((host.job(i) or {}).get("status") == "EXECUTING" for i in ids), 20, "all three run")
            other.declare("held")  # it is as impatient as that: who holds a message loses the channel
            other.publish("held", b"x")
            other.channel.basic_consume("held", lambda *_: None)

            def closed():
                other.connection.process_data_events(0.1)
                return other.channel.is_closed
            odto.wait_until(closed, 30, "the channel is closed")
            odto.wait_until(lambda: b.depth("jobs.created") == (0, 0), 10, "acknowledged while they run")
            while True:  # ODTO_LONG_JOB=300: for minutes, in which nobody else may get them
                odto.equal([(host.job(i)["status"], host.job(i)["attempt"]) for i in ids], [("EXECUTING", 1)] * 3, "states and attempts")
                if time.monotonic() - began >= float(os.environ.get("ODTO_LONG_JOB", "0")):
                    break
                time.sleep(1)
            end.touch()
            completed(host, 3)
            odto.check("acknowledgement" not in host.log and "connection is lost" not in host.log, host.log)


@suite.test("a consumer that is gone gives what it holds to the others")
def _():
    b = broker()
    with odto.Host(gateway_only(b.url)) as gateway, odto.Host(bridged(b.url, {"plugin gateway": None})) as host:
        submit(gateway, 10)
        completed(host, 10)
        r = host.odto("disable", "processor")
        odto.equal(r.returncode, 0, r.stderr)
        submit(gateway, 40)
        odto.wait_until(lambda: b.depth("jobs.created") == (40, 0), 20, "all are in the queue for others")
        odto.equal(host.odto("enable", "processor").returncode, 0)
        completed(host, 50)


def close():
    if BROKER:
        BROKER.close()


import atexit
atexit.register(close)
suite.main()
