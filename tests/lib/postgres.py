"""A PostgreSQL server of the test's own: private directory, free port, loopback only.

    with postgres.Postgres() as pg:
        host = odto.Host({"store main": {"module": "postgres", "url": pg.url}})

missing() says why there can be none on this machine (for odto.Skip). As root the server runs as user postgres."""
import glob
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import time

import odto


def _bin():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda p: int(p.split("/")[4]))
    if found:
        return pathlib.Path(found[-1]).parent
    path = shutil.which("initdb")
    return pathlib.Path(path).parent if path else None


def _user():
    """The user the server runs as: not root, which it refuses."""
    if os.getuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return None


def missing():
    if not (odto.BUILD / ".libs" / "postgres.so").exists():
        return "the store postgres is not built (Debian: libpq-dev)"
    if _bin() is None:
        return "PostgreSQL is not installed (Debian: postgresql-15)"
    if os.getuid() == 0 and _user() is None:
        return "there is no user postgres for the server to run as"
    return None


def need():
    why = missing()
    if why:
        raise odto.Skip(why)


class Postgres:
    """settings: {name: value} of postgresql.conf. password: it is asked for (user odto). tls: a folder with server.pem and
    server.key, for connections that want TLS."""

    def __init__(self, settings=None, password=None, tls=None):
        self.bin, self.user = _bin(), _user()
        self.port = odto.free_port()
        self.password = password
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="odto-pg-"))
        if self.user:
            os.chown(self.dir, self.user.pw_uid, self.user.pw_gid)
        self.data = self.dir / "data"
        self.process = None
        self._run("initdb", "-D", str(self.data), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-N")
        conf = {"port": self.port, "listen_addresses": "'127.0.0.1'", "unix_socket_directories": f"'{self.dir}'",
                "max_connections": 100, "shared_buffers": "'64MB'", "autovacuum_naptime": "5s", "log_min_messages": "fatal",
                **({"ssl": "on", "ssl_cert_file": "'server.pem'", "ssl_key_file": "'server.key'"} if tls else {}), **(settings or {})}
        for name in ("server.pem", "server.key") if tls else ():
            shutil.copy(pathlib.Path(tls) / name, self.data / name)
            (self.data / name).chmod(0o600)
            if self.user:
                os.chown(self.data / name, self.user.pw_uid, self.user.pw_gid)
        with open(self.data / "postgresql.conf", "a") as f:
            f.writelines(f"{k} = {v}\n" for k, v in conf.items())
        if password:
            (self.data / "pg_hba.conf").write_text("local all all trust\nhost all postgres 127.0.0.1/32 trust\n"
                                                   "host all all 127.0.0.1/32 scram-sha-256\n")

    def _as_user(self):
        if not self.user:
            return {}
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}

    def _run(self, program, *args, **more):
        r = subprocess.run([str(self.bin / program), *args], capture_output=True, text=True, cwd=self.dir,
                           timeout=120 * odto.SLOW, **self._as_user(), **more)
        if r.returncode:
            raise odto.Failed(f"{program}: {r.stdout}{r.stderr}")
        return r.stdout

    @property
    def url(self):
        return self.url_of("odto")

    def url_of(self, database, user="postgres", password=None, port=None, options=""):
        who = f"{user}:{password}" if password else user
        return f"postgresql://{who}@127.0.0.1:{port or self.port}/{database}{options}"

    def start(self):
        log = open(self.dir / "log", "ab")
        self.process = subprocess.Popen([str(self.bin / "postgres"), "-D", str(self.data)], stdin=subprocess.DEVNULL,
                                        stdout=log, stderr=log, cwd=self.dir, start_new_session=True, **self._as_user())
        log.close()
        odto.wait_until(self.answers, 60, f"PostgreSQL answers\n{(self.dir / 'log').read_text(errors='replace')[-2000:]}", 0.05)
        if not self.sql("SELECT 1 FROM pg_database WHERE datname = 'odto'", "postgres"):
            self.sql("CREATE DATABASE odto", "postgres")
            if self.password:
                self.sql(f"CREATE ROLE odto LOGIN PASSWORD '{self.password}'", "postgres")
                self.sql("ALTER DATABASE odto OWNER TO odto", "postgres")
                self.sql("GRANT ALL ON SCHEMA public TO odto")
        return self

    def answers(self):
        return subprocess.run([str(self.bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]).returncode == 0

    def stop(self, how=signal.SIGINT):
        """SIGINT: fast; SIGQUIT: immediate, as after a power cut."""
        if self.process is None:
            return
        self.process.send_signal(how)
        self.process.wait(60 * odto.SLOW)
        self.process = None

    def kill(self):
        """kill -9 of the server with all its processes; its memory is freed so that it can start again."""
        if self.process is None:
            return
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None
        end = time.monotonic() + 10
        while self._left() and time.monotonic() < end:
            time.sleep(0.02)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _left(self):
        """Backends (each a session of its own) that have not noticed yet."""
        for d in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if (d / "cwd").resolve() == self.data:
                    os.kill(int(d.name), signal.SIGKILL)
                    return True
            except (OSError, ValueError):
                pass
        return False

    def restart(self):
        self.stop()
        return self.start()

    def sql(self, text, database="odto"):
        """Rows of a statement, as lists of text."""
        r = subprocess.run([str(self.bin / "psql"), "-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-h",
                            "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-d", database, "-c", text],
                           capture_output=True, text=True, timeout=120 * odto.SLOW)
        if r.returncode:
            raise odto.Failed(f"{text}: {r.stderr}")
        return [line.split("\t") for line in r.stdout.splitlines()]

    def value(self, text, database="odto"):
        rows = self.sql(text, database)
        return rows[0][0] if rows else None

    def counts(self):
        """{status: rows} of table jobs, and what the store counts."""
        rows = {k: int(v) for k, v in self.sql("SELECT status, count(*) FROM jobs GROUP BY status")}
        stat = self.sql("SELECT sum(pending), sum(executing), sum(completed), sum(failed) FROM (SELECT pending, executing, "
                        "completed, failed FROM odto_stat UNION ALL SELECT * FROM odto_delta) x")[0]
        names = ("PENDING", "EXECUTING", "COMPLETED", "FAILED")
        return {n: rows.get(n, 0) for n in names}, {n: int(v or 0) for n, v in zip(names, stat)}

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.cleanup()

    def cleanup(self):
        try:
            self.stop()
        finally:
            if not os.environ.get("ODTO_TEST_KEEP"):
                shutil.rmtree(self.dir, ignore_errors=True)
