"""Another implementation of the four services, to the letter of the contract, that shares nothing with ours: Python,
pika, psycopg2, redis and MongoDB by their wire protocols. Small and slow, but independent: what they and ours
exchange on the same broker and databases is the contract.

    with other.Gateway(rabbit_url) as gateway, other.Processor(rabbit_url, dsn), \\
            other.Metrics(rabbit_url, redis, mongo):
        Client(gateway.port).post("/jobs", job)
"""
import datetime
import http.server
import json
import threading
import uuid

import odto
import rabbitmq

QUEUES = ("jobs.created", "jobs.completed", "jobs.failed.validation")
TABLE = ("CREATE TABLE IF NOT EXISTS jobs (id uuid PRIMARY KEY, type text, status text, payload jsonb, "
         "created_at timestamp, updated_at timestamp DEFAULT now())")


def need():
    rabbitmq.pika_or_skip()
    try:
        import psycopg2
    except ImportError:
        raise odto.Skip("no psycopg2 (Debian: python3-psycopg2)") from None
    return psycopg2


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def envelope(service, kind, job, correlation, key):
    return {"eventId": str(uuid.uuid4()), "eventType": kind, "contractVersion": "1.0.0", "occurredAt": now(),
            "correlationId": correlation, "idempotencyKey": key, "payload": job,
            "producer": {"service": service, "instanceId": "other-1", "version": "9.9.9"}, "note": "from elsewhere"}


class Broker:
    """A connection and the three queues, durable and without arguments."""

    def __init__(self, url):
        self.pika = rabbitmq.pika_or_skip()
        self.connection = rabbitmq.connect(url)
        self.channel = self.connection.channel()
        for q in QUEUES:
            self.channel.queue_declare(q, durable=True)

    def publish(self, queue, event):
        self.channel.basic_publish("", queue, json.dumps(event).encode(), self.pika.BasicProperties(
            content_type="application/json", delivery_mode=2, message_id=event["eventId"],
            correlation_id=event["correlationId"]))


class Service(threading.Thread):
    """Consumes one queue until it is closed; an error ends it and is raised by close()."""

    queue = None

    def __init__(self, url):
        super().__init__(daemon=True)
        self.url, self.stop, self.error, self.handled = url, threading.Event(), None, 0

    def run(self):
        try:
            self.broker = Broker(self.url)
            self.broker.channel.basic_qos(prefetch_count=1)
            for method, _, body in self.broker.channel.consume(self.queue, inactivity_timeout=0.05):
                if self.stop.is_set():
                    break
                if method:
                    self.handle(json.loads(body))
                    self.broker.channel.basic_ack(method.delivery_tag)
                    self.handled += 1
            self.broker.channel.cancel()
            self.broker.connection.close()
        except Exception as e:  # told by close()
            self.error = e

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, *_):
        self.stop.set()
        self.join(30 * odto.SLOW)
        if self.error and kind is None:
            raise odto.Failed(f"{type(self).__name__} of the other implementation: {self.error!r}")


class Processor(Service):
    queue = "jobs.created"

    def __init__(self, url, dsn):
        super().__init__(url)
        self.db = need().connect(dsn)
        self.db.autocommit = True
        with self.db.cursor() as c:
            c.execute(TABLE)

    def handle(self, e):
        job = e["payload"]
        with self.db.cursor() as c:
            c.execute("INSERT INTO jobs (id, type, status, payload, created_at) VALUES (%s, %s, 'EXECUTING', %s, "
                      "(%s::timestamptz AT TIME ZONE 'UTC')) ON CONFLICT (id) DO NOTHING",
                      (job["id"], job["type"], json.dumps(job.get("payload", {})), job["createdAt"]))
            c.execute("UPDATE jobs SET status = 'COMPLETED', updated_at = now() AT TIME ZONE 'UTC' WHERE id = %s", (job["id"],))
        done = {**job, "status": "COMPLETED", "updatedAt": now()}
        self.broker.publish("jobs.completed",
                            envelope("processor", "job.completed", done, e["correlationId"], e["idempotencyKey"]))


class Metrics(Service):
    queue = "jobs.completed"

    def __init__(self, url, redis, mongo):
        super().__init__(url)
        self.redis, self.mongo = redis, mongo

    def handle(self, e):
        good = e["eventType"] == "job.completed"
        self.redis.call("INCR", "metrics:jobs:total")
        self.redis.call("INCR", f"metrics:jobs:{'completed' if good else 'failed'}")
        self.redis.call("SET", "metrics:last_event_time", e["occurredAt"])
        self.mongo.insert("observatory", "job_events", {k.lower(): e[k] for k in (
            "contractVersion", "eventType", "eventId", "occurredAt", "correlationId", "idempotencyKey", "payload")})


class Reader:
    """What a dashboard would read, straight out of the stores."""

    def __init__(self, dsn, redis, mongo):
        self.db = need().connect(dsn)
        self.db.autocommit = True
        self.redis, self.mongo = redis, mongo

    def jobs(self):
        """{id: (type, status, created_at)}"""
        with self.db.cursor() as c:
            c.execute("SELECT id, type, status, created_at FROM jobs ORDER BY created_at")
            return {str(i): rest for i, *rest in c.fetchall()}

    def stats(self):
        return self.redis.counters()

    def events(self):
        """{job id: [event type]}, by the lower-cased keys."""
        out = {}
        for d in self.mongo.find("observatory", "job_events"):
            out.setdefault(d["payload"]["id"], []).append(d["eventtype"])
        return out

    def close(self):
        self.db.close()


class Gateway:
    """POST /jobs → 202 {jobId, eventId}; one request at a time."""

    def __init__(self, url):
        broker = Broker(url)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                e = envelope("gateway", "job.created", job, str(uuid.uuid4()), job["id"])
                broker.publish("jobs.created", e)
                answer = json.dumps({"jobId": job["id"], "eventId": e["eventId"]}).encode()
                self.send_response(202)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass
        self.broker = broker
        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
        self.broker.connection.close()
