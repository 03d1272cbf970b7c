#!/usr/bin/env python3
"""kill -9 of the host at random moments under load: every job answered 202 ends exactly once in a final state, the counters equal
the rows, every job has its one completion event. ODTO_KILLS sets the rounds (10; the full proof is 200)."""
import collections
import json
import os
import pathlib
import random
import sqlite3
import sys
import threading
import time
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import odto  # noqa: E402

suite = odto.Suite()
ROUNDS = int(os.environ.get("ODTO_KILLS", "10"))
SEED = int(os.environ.get("ODTO_SEED", str(random.randrange(1 << 30))))


class Producer(threading.Thread):
    """Posts jobs without a pause, through restarts; ids answered 202 are in accepted. A request whose answer was lost is sent again
    with the same id, as a careful client would."""

    def __init__(self, client, name):
        super().__init__(daemon=True)
        self.client, self.label = client, name
        self.accepted, self.stop, self.down = {}, threading.Event(), 0
        self.start()

    def run(self):
        connection, job = None, None
        while not self.stop.is_set() or job is not None:
            job = job or odto.job(payload={"producer": self.label, "n": len(self.accepted)})
            try:
                connection = connection or self.client.keep()
                r = self.client.request("POST", "/jobs", job, connection=connection)
            except Exception:  # noqa: BLE001 - the host is dead: try the same job again
                connection = None
                self.down += 1
                if self.stop.is_set():
                    return  # never answered: nothing was promised
                time.sleep(0.005)
                continue
            if r.status == 202:
                self.accepted[job["id"]] = r.json["eventId"]
                job = None
            elif r.status != 503:
                raise odto.Failed(f"POST /jobs: {r}")


def quiet(host, expected):
    def done():
        s = host.stats()
        return s if s["pendingJobs"] == 0 and s["executingJobs"] == 0 and s["totalJobs"] >= expected else None
    return odto.wait_until(done, 120, f"{expected} jobs have ended")


def verify(host, accepted):
    stats = quiet(host, len(accepted))
    odto.wait_until(lambda: all(v == 0 for k, v in host.gateway.metrics().items()
                                if k.startswith("odto_route_depth") and "failed" not in k), 60, "the routes are empty")
    stats = host.stats()
    host.stop()
    db = sqlite3.connect(host.data / "odto.db")
    rows = {str(uuid.UUID(i)): status for i, status in db.execute("SELECT id, status FROM jobs")}
    missing = [i for i in accepted if i not in rows]
    odto.equal(missing[:5], [], f"{len(missing)} accepted jobs without a row")
    odto.equal(collections.Counter(rows.values()).keys() - {"COMPLETED", "FAILED"}, set(), "rows not in a final state")
    events = collections.Counter()
    for (body,) in db.execute("SELECT body FROM event"):
        e = json.loads(body)
        events[e["payload"]["id"]] += 1
    twice = [i for i, n in events.items() if n > 1]
    odto.equal(twice[:5], [], f"{len(twice)} jobs with more than one completion event")
    none = [i for i in rows if i not in events]
    odto.equal(none[:5], [], f"{len(none)} jobs without a completion event")
    odto.equal(stats["totalJobs"], len(rows), "totalJobs of /stats and rows")
    odto.equal(stats["completedJobs"] + stats["failedJobs"], len(rows), "completed + failed and rows")
    db.close()
    return len(rows)


@suite.test(f"{ROUNDS} kills under load lose and double nothing (ODTO_SEED={SEED})")
def _():
    rng = random.Random(SEED)
    host = odto.Host({"handler builtin": {"backoff": "10ms"}})
    with host:
        producers = [Producer(host.gateway, f"p{i}") for i in range(8)]
        for _ in range(ROUNDS):
            time.sleep(rng.uniform(0.02, 0.4))  # the moment of the kill is the test's input
            host.kill()
            host.start()
        for p in producers:
            p.stop.set()
        for p in producers:
            p.join(60 * odto.SLOW)
            odto.check(not p.is_alive(), "the producer ends")
        accepted = {}
        for p in producers:
            accepted.update(p.accepted)
        odto.check(len(accepted) > ROUNDS, f"{len(accepted)} jobs were accepted")
        n = verify(host, accepted)
        odto.diag(f"{ROUNDS} kills, {len(accepted)} accepted, {n} rows")
        host.start()


suite.main()
