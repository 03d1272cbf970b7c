"""The servers of ODTO_TEST_STACK=servers: one RabbitMQ, PostgreSQL, Redis and server of MongoDB's protocol a test program,
started when the first host asks and ended with the program. Every host gets a vhost and databases of its own.

The same test files then run with RabbitMQ as every route's transport and each store on its server; what is about the embedded
store alone says so with only_embedded()."""
import atexit
import os
import urllib.parse

import odto

_servers = None
_hosts = 0


def servers():
    """(broker, PostgreSQL, Redis, MongoDB's protocol), running."""
    global _servers
    if _servers is None:
        import mongo
        import postgres
        import rabbitmq
        import redis
        postgres.need()
        rabbitmq.need()
        pg = postgres.Postgres()
        atexit.register(pg.cleanup)
        broker = rabbitmq.RabbitMQ()
        atexit.register(broker.close)
        r, m = redis.Redis(args=["--databases", "1000"]), mongo.Mongo()
        atexit.register(r.cleanup)
        atexit.register(m.cleanup)
        broker.start(wait=False)
        pg.start()
        r.start()
        m.start()
        broker.wait()
        odto.diag(f"served by RabbitMQ, PostgreSQL, Redis and {m.kind}")
        _servers = broker, pg, r, m
    return _servers


def sections():
    """The manifest's stores, bridge and routes for one more host."""
    global _hosts
    broker, pg, r, m = servers()
    _hosts += 1
    name = f"t{os.getpid()}x{_hosts}"
    pg.sql(f"CREATE DATABASE {name}", "postgres")
    for path, body in ((f"/api/vhosts/{name}", None),
                       (f"/api/permissions/{name}/guest", {"configure": ".*", "write": ".*", "read": ".*"})):
        status, answer = broker.api("PUT", path, body)
        odto.check(status in (201, 204), f"{path}: {status} {answer}")
    dead = {"dead_letter": "jobs.failed.validation"}
    return {
        "bridge rabbitmq": {"urls": broker.url.replace("%2f", urllib.parse.quote(name))},
        "store jobs": {"module": "postgres", "url": pg.url_of(name)},
        "store counters": {"module": "redis", "url": f"redis://{r.address}/{_hosts}"},
        "store events": {"module": "mongo", "url": m.url, "database": name},
        "route jobs.created": {"transport": "rabbitmq", "spool": "yes", **dead},
        "route jobs.completed": {"transport": "rabbitmq", **dead},
        "route jobs.failed.validation": {"transport": "rabbitmq"},
    }
