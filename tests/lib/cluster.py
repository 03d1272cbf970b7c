"""A cluster of the test's own: RabbitMQ, PostgreSQL, Redis and a server of MongoDB's protocol, and hosts of etc/ROLE.ini, each
in a network namespace with its own address where the machine lets us (net.py). Some hosts reach the servers over a proxy each."""
import json
import pathlib
import shutil
import tempfile

import mongo
import odto
import postgres
import proxy
import rabbitmq
import redis

# so that what a fault costs is seconds; everything else is as etc/ has it
PATIENCE = {"bridge rabbitmq": {"heartbeat": "2s", "backoff_max": "1s", "give_up": "1s"},
            "plugin processor": {"lease": "3s"},
            "store jobs": {"statement_timeout": "2s", "connect_timeout": "2s"},
            "store counters": {"timeout": "2s"},
            "store events": {"timeout": "2s"}}


def manifest(role):
    """The sections of etc/ROLE.ini."""
    sections, at = {}, None
    for line in (odto.SRC / "etc" / f"{role}.ini").read_text().splitlines():
        if line.startswith("["):
            at = sections[line.strip("[]")] = {}
        elif "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            at[key.strip()] = value.strip()
    for section, keys in PATIENCE.items():
        if section in sections:
            sections[section].update(keys)
    return odto.Manifest(sections)


class Redis(redis.Redis):
    def command(self):
        return [*super().command(), "--bind", "*", "--protected-mode", "no"]


class Mongo(mongo.Mongo):
    def command(self):
        return [w.replace("127.0.0.1", "0.0.0.0") for w in super().command()]


class Servers:
    """The four, listening at `address` too. by_name: {name: server}."""

    def __init__(self, address):
        postgres.need()
        rabbitmq.need()
        self.address = address
        more = [] if address == "127.0.0.1" else ["loopback_users = none"]
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="odto-cluster-"))
        self.pg = postgres.Postgres({"listen_addresses": "'*'"})
        with open(self.pg.data / "pg_hba.conf", "a") as f:
            f.write("host all all 0.0.0.0/0 trust\n")
        self.broker = rabbitmq.RabbitMQ(more + ([f"listeners.tcp.2 = {address}:{{port}}"] if more else []))
        self.redis, self.mongo = Redis(), Mongo()
        self.by_name = {"rabbitmq": self.broker, "postgres": self.pg, "redis": self.redis, "mongo": self.mongo}

    def start(self):
        self.broker.start(wait=False)
        for s in (self.pg, self.redis, self.mongo):
            s.start()
        self.broker.wait()
        return self

    def urls(self, ports=None, address=None):
        """The variables of a host; ports: {name: another port}."""
        at = {name: f"{address or self.address}:{(ports or {}).get(name, s.port)}" for name, s in self.by_name.items()}
        return {"RABBITMQ_URL": f"amqp://guest:guest@{at['rabbitmq']}/%2f", "REDIS_URL": at["redis"],
                "POSTGRES_URL": f"postgresql://postgres@{at['postgres']}/odto", "MONGO_URL": f"mongodb://{at['mongo']}"}

    def close(self):
        for end in (self.broker.close, self.redis.cleanup, self.mongo.cleanup, self.pg.cleanup):
            end()
        shutil.rmtree(self.folder, ignore_errors=True)


class Node(odto.Host):
    """A host of one role. links: {server: Proxy} when it reaches them over proxies."""

    USES = {"gateway": ("rabbitmq",), "processor": ("rabbitmq", "postgres"), "metrics": ("rabbitmq", "redis", "mongo"),
            "read-model": ("postgres", "redis", "mongo")}

    def __init__(self, role, number, servers, place, proxied=False):
        self.role, self.name = role, f"{role}-{number}"
        self.links = {}
        if proxied:
            self.links = {s: proxy.Proxy(servers.by_name[s].port, listen=servers.address) for s in self.USES[role]}
        m = manifest(role)
        m[f"plugin {role}"]["listen"] = f"{place.address}:{odto.free_port()}"
        env = {**servers.urls({s: link.port for s, link in self.links.items()}), "ODTO_HOST_NAME": self.name}
        super().__init__(manifest=m, env=env, wait=False, place=place)

    http = property(lambda self: self.client(f"plugin {self.role}"))

    def routes(self):
        """{topic: what `odto routes` says of it}."""
        done = self.odto("routes", "--json")
        return {r["topic"]: r for r in json.loads(done.stdout)["routes"]} if done.returncode == 0 else {}

    def stop(self, timeout=60):
        """In order, within the host's own shutdown_timeout; any exit status but 0 is a failure."""
        status = super().stop(timeout)
        odto.equal(status, 0, f"exit status of {self.name} after SIGTERM\n{self.log[-4000:]}")

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def close(self):
        self.kill()
        for link in self.links.values():
            link.close()
        self.cleanup()


class Cluster:
    """Servers and hosts, as a context manager. roles: [(role, number, proxied)]."""

    def __init__(self, network, roles):
        self.network, self.roles, self.nodes, self.servers = network, roles, [], None

    def __enter__(self):
        try:
            self.servers = Servers(self.network.address).start()
            odto.diag(f"hosts {'in namespaces of their own' if self.network.separate else 'on the loopback'}; "
                      f"MongoDB's protocol by {self.servers.mongo.kind}")
            for role, number, proxied in self.roles:
                place = self.network.place()
                node = Node(role, number, self.servers, place, proxied or not self.network.separate)
                self.nodes.append(node)
                node.start()
            self.ready()
            self.servers.broker.settle()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for n in self.nodes:
            n.close()
        if self.servers:
            self.servers.close()

    def of(self, role):
        return [n for n in self.nodes if n.role == role]

    def ready(self, timeout=120):
        for n in self.nodes:
            odto.wait_until(n.http.ready, timeout, f"host {n.name} is ready\n{n.log[-2000:]}")


# ---- what became of the jobs ----------------------------------------------------------------------

def events(m):
    """{job: [event ids]} in the event log."""
    found = {}
    for doc in m.every("observatory", "job_events", {"eventid": 1, "payload.id": 1}):
        found.setdefault(doc["payload"]["id"], []).append(doc["eventid"])
    return found


def in_files(folder, ids):
    """Which of these ids stand in the files below a folder (a spool keeps what it still holds, and some of the rest)."""
    found = set()
    for f in pathlib.Path(folder).rglob("*"):
        if f.is_file():
            data = f.read_bytes()
            found |= {i for i in ids if i.encode() in data}
    return found


def waiting(broker, queue, ids):
    """Which of these ids are in a queue."""
    status, letters = broker.api("POST", f"/api/queues/%2f/{queue}/get",
                                 {"count": 20000, "ackmode": "ack_requeue_true", "encoding": "auto"})
    return {i for i in ids for x in letters if i in x["payload"]} if status == 200 else set()

