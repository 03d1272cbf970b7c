"""Load for the tests that break things: producers that post without a pause, and what must be true when it is over."""
import collections
import json
import sqlite3
import threading
import time
import uuid

import odto


class Producer(threading.Thread):
    """Posts jobs through faults of all kinds; those answered 202 are in accepted. A request whose answer was lost is sent
    again with the same id, as a careful client would, to the next of the gateways."""

    def __init__(self, clients, label, pause=0.0, **members):
        super().__init__(daemon=True)
        self.clients, self.label, self.pause, self.members = list(clients), label, pause, members
        self.accepted, self.ending, self.down, self.error = {}, threading.Event(), 0, None
        self.start()

    def run(self):
        connection, job, at = None, None, 0
        while not self.ending.is_set():
            job = job or odto.job(payload={"producer": self.label, "n": len(self.accepted)}, **self.members)
            client = self.clients[at % len(self.clients)]
            try:
                connection = connection or client.keep()
                r = client.request("POST", "/jobs", job, connection=connection)
            except Exception:  # noqa: BLE001 - the gateway is dead or cut off: the same job again
                connection, at = None, at + 1
                self.down += 1
                time.sleep(0.005)
                continue
            if r.status == 202:
                self.accepted[job["id"]] = r.json["eventId"]
                job = None
                time.sleep(self.pause)
            elif r.status in (429, 503):
                at, connection = at + 1, None
                time.sleep(0.01)
            else:
                self.error = f"POST /jobs: {r}"
                return


class Load:
    """Several producers; stop() gives all that was accepted."""

    def __init__(self, clients, n=4, pause=0.0, **members):
        self.producers = [Producer(clients, f"p{i}", pause, **members) for i in range(n)]

    @property
    def count(self):
        return sum(len(p.accepted) for p in self.producers)

    def more(self, n, timeout=60):
        """Wait until n more jobs were accepted."""
        goal = self.count + n
        odto.wait_until(lambda: self.count >= goal, timeout, f"{n} more jobs are accepted")

    def stop(self):
        for p in self.producers:
            p.ending.set()
        for p in self.producers:
            p.join(60 * odto.SLOW)
            odto.check(not p.is_alive(), "a producer ends")
            odto.check(p.error is None, p.error)
        accepted = {}
        for p in self.producers:
            accepted.update(p.accepted)
        return accepted


def ended(pg, accepted, timeout=90):
    """Every accepted job has a row in a final state; the counts are those of the rows."""
    def done():
        rows, _ = pg.counts()
        return rows["PENDING"] == 0 and rows["EXECUTING"] == 0 and sum(rows.values()) >= len(accepted)
    odto.wait_until(done, timeout, f"{len(accepted)} jobs have ended", 0.1)
    rows = dict(pg.sql("SELECT id, status FROM jobs"))
    missing = [i for i in accepted if i not in rows]
    odto.equal(missing[:5], [], f"{len(missing)} accepted jobs without a row")
    odto.equal(set(rows.values()) - {"COMPLETED", "FAILED"}, set(), "other states")
    of_rows, of_stat = pg.counts()
    odto.equal(of_stat, of_rows, "the store's counts and the rows")
    return rows


def outbox_empty(pg, timeout=60):
    odto.wait_until(lambda: pg.value("SELECT count(*) FROM odto_outbox") == "0", timeout, "the outbox is empty", 0.1)


def sqlite_events(hosts):
    """{job: completion events} in the event logs of these (stopped) hosts."""
    seen = {}
    for host in hosts:
        db = sqlite3.connect(host.data / "odto.db")
        for (body,) in db.execute("SELECT body FROM event"):
            e = json.loads(body)
            seen.setdefault(e["payload"]["id"], set()).add(e["eventId"])
        db.close()
    return collections.Counter({job: len(ids) for job, ids in seen.items()})


def one_event_each(rows, events):
    twice = [i for i, n in events.items() if n > 1]
    odto.equal(twice[:5], [], f"{len(twice)} jobs with more than one completion event")
    none = [i for i in rows if i not in events]
    odto.equal(none[:5], [], f"{len(none)} jobs without a completion event")


def job_id(text):
    return str(uuid.UUID(text))
