#!/usr/bin/env python3
"""The postgres store against a real server: its unit tests (the same suite as the sqlite store's), the schema's
migrations, and what is said when the database can't be used."""
import os
import pathlib
import subprocess
import sys
import tempfile
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import odto  # noqa: E402
import postgres  # noqa: E402
import rabbitmq  # noqa: E402

suite = odto.Suite()


def store(url, **more):
    """Changes of the manifest: jobs in PostgreSQL, counters and events where they were."""
    return {"store jobs": {"module": "postgres", "url": url, **more}, "plugin processor": {"jobs": "jobs", "lease": "3s"},
            "plugin read-model": {"jobs": "jobs"}}


@suite.test("what store.h promises, and sharing")
def _(pg):
    program = odto.BUILD / "tests" / "unit" / "test_postgres"
    if not program.exists():
        raise odto.Skip("test_postgres is not built (Debian: check, libpq-dev)")
    r = subprocess.run([str(program)], capture_output=True, text=True, env={**os.environ, "ODTO_TEST_POSTGRES": pg.url})
    odto.diag(r.stdout)
    odto.equal(r.returncode, 0, f"status of test_postgres\n{r.stderr[-3000:]}")


@suite.test("a job through a real host; POSTGRES_URL overrides the manifest")
def _(pg):
    pg.sql("CREATE DATABASE one")
    with odto.Host(store("postgresql://nobody@127.0.0.1:1/none"), env={"POSTGRES_URL": pg.url_of("one")}) as host:
        done = host.wait_job(host.submit(payload={"n": 1}))
        odto.equal(done["status"], "COMPLETED", "status")
        failed = host.wait_job(host.submit(type="fail", options={"maxAttempts": 1}))
        odto.equal(failed["status"], "FAILED", "status")
        rows = pg.sql("SELECT type, status, payload->>'n' FROM jobs ORDER BY created_at", "one")
        odto.equal(rows, [["echo", "COMPLETED", "1"], ["fail", "FAILED", ""]], "rows as others see them")


@suite.test("a table that an older service filled: what is finished stays, what waits is run")
def _(pg):
    pg.sql("CREATE DATABASE older")
    pg.sql("CREATE TABLE jobs(id uuid primary key, type text, status text, payload jsonb, created_at timestamp, "
           "updated_at timestamp default now())", "older")
    ids = {s: str(uuid.uuid4()) for s in ("PENDING", "VALIDATED", "EXECUTING", "COMPLETED", "FAILED")}
    for status, job in ids.items():
        pg.sql(f"INSERT INTO jobs VALUES('{job}', 'echo', '{status}', '{{\"old\": 1}}', '2020-02-03 04:05:06')", "older")
    with odto.Host(store(pg.url_of("older"))) as host:
        odto.equal(host.job(ids["COMPLETED"])["status"], "COMPLETED", "status of the finished one")
        odto.equal(host.job(ids["FAILED"])["status"], "FAILED", "status of the failed one")
        odto.contains(host.job(ids["COMPLETED"])["createdAt"], "2020-02-03T04:05:06", "createdAt")
        # as if the half minute for their messages, and the minute of the older service, were over
        pg.sql("UPDATE jobs SET run_at = 0 WHERE status = 'PENDING'", "older")
        pg.sql("UPDATE jobs SET lease_until = 0 WHERE status = 'EXECUTING'", "older")
        for status in ("PENDING", "VALIDATED", "EXECUTING"):
            odto.equal(host.wait_job(ids[status], timeout=40)["status"], "COMPLETED", f"status of the {status} one")
    odto.equal(pg.value("SELECT count(*) FROM jobs WHERE payload->>'old' = '1' AND created_at = '2020-02-03 04:05:06'",
                        "older"), "5", "rows that kept what they had")
    rows = pg.sql("SELECT status, count(*) FROM jobs GROUP BY 1 ORDER BY 1", "older")
    odto.equal(rows, [["COMPLETED", "4"], ["FAILED", "1"]], "rows")


@suite.test("five hosts that start together migrate once")
def _(pg):
    pg.sql("CREATE DATABASE five")
    hosts = [odto.Host(store(pg.url_of("five")), wait=False) for _ in range(5)]
    try:
        for host in hosts:
            host.start()
        for host in hosts:
            host.wait_ready(40)
        odto.equal(pg.value("SELECT count(*) FROM odto_schema", "five"), "1", "versions applied")
        said = sum(host.log.count("is now version 1") for host in hosts)
        odto.equal(said, 1, "hosts that migrated")
        jobs = [host.submit() for host in hosts]
        for host, job in zip(hosts, jobs):
            odto.equal(host.wait_job(job)["status"], "COMPLETED", "status")
        for host in hosts:
            odto.equal(host.stop(), 0, "exit status")
    finally:
        for host in hosts:
            host.kill()
            host.cleanup()


@suite.test("a schema of a newer odto is left alone")
def _(pg):
    pg.sql("CREATE DATABASE newer")
    pg.sql("CREATE TABLE odto_schema(version int4 primary key, applied_at timestamptz)", "newer")
    pg.sql("INSERT INTO odto_schema VALUES(1000)", "newer")
    host = odto.Host(store(pg.url_of("newer")), wait=False)
    try:
        host.start()
        odto.wait_until(lambda: "was written by a newer odto" in host.log, 20, "the log says why")
    finally:
        host.kill()
        host.cleanup()


def refused(pg, url, reason):
    """A host whose database refuses it: not ready, one line that says where and why, never the password."""
    host = odto.Host(store(url), wait=False)
    try:
        host.start()
        odto.wait_until(lambda: reason in host.log, 20, f"the log says {reason}")
        line = next(ln for ln in host.log.splitlines() if reason in ln)
        odto.contains(line, "store jobs", "the line")
        odto.contains(line, f"127.0.0.1:{pg.port}", "the line")
        before = host.log.count(reason)
        odto.wait_until(lambda: host.processor.get("/readyz").status == 503, 20, "not ready")
        odto.equal(host.log.count("store jobs: PostgreSQL at"), before, "lines within the minute")
        odto.check("geheim" not in host.log, "no password in the log")
        command = pathlib.Path(f"/proc/{host.process.pid}/cmdline").read_text()
        odto.check("geheim" not in command, "no password in the arguments")
        return host
    except BaseException:
        host.kill()
        host.cleanup()
        raise


@suite.test("refused credentials and a missing database: said with place and reason, without the password")
def _(pg):
    with postgres.Postgres(password="geheim") as own:
        host = refused(own, own.url_of("odto", "odto", "geheim-falsch"), "password authentication failed")
        host.kill()
        host.cleanup()
        host = refused(own, own.url_of("missing", "odto", "geheim"), 'does not exist')
        try:
            own.sql("CREATE DATABASE missing OWNER odto", "postgres")
            host.wait_ready(30)  # by itself
            odto.equal(host.wait_job(host.submit())["status"], "COMPLETED", "status")
        finally:
            host.kill()
            host.cleanup()


@suite.test("sslmode=verify-full: the right authority and name are taken, others refused with the reason")
def _(pg):
    with tempfile.TemporaryDirectory(prefix="odto-ca-") as ca, tempfile.TemporaryDirectory(prefix="odto-ca-") as strange:
        rabbitmq.authority(ca)
        rabbitmq.authority(strange)
        with postgres.Postgres(tls=ca) as own:
            def options(authority, **more):
                more = {"sslmode": "verify-full", "sslrootcert": f"{authority}/ca.pem", **more}
                return "?" + "&".join(f"{k}={v}" for k, v in more.items())
            with odto.Host(store(own.url_of("odto", options=options(ca)))) as host:
                odto.equal(host.wait_job(host.submit())["status"], "COMPLETED", "status")
                encrypted = own.sql("SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE datname = 'odto' AND "
                                    "pid <> pg_backend_pid() AND application_name NOT LIKE 'psql%'")
                odto.check(encrypted and all(row == ["t"] for row in encrypted), f"every connection is encrypted: {encrypted}")
            refusals = ((own.url_of("odto", options=options(strange)), "certificate verify failed"),
                        (own.url_of("odto", options=options(ca, hostaddr="127.0.0.1")).replace("@127.0.0.1", "@db.example"),
                         "does not match host name"))
            for url, reason in refusals:
                with odto.Host(store(url), wait=False) as host:
                    odto.wait_until(lambda: reason in host.log, 20, f"the log says {reason}")
                    odto.wait_until(lambda host=host: host.processor.get("/readyz").status == 503, 20, "not ready")


if __name__ == "__main__":
    if postgres.missing():
        print(f"1..0 # SKIP {postgres.missing()}")
        sys.exit(0)
    suite.main(lambda: postgres.Postgres({"fsync": "off"}))
