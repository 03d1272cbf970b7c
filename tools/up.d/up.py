#!/usr/bin/env python3
"""What tools/up does after the build: servers, one host per role, and their end. Uses the tests' own private servers."""
import argparse
import concurrent.futures
import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "lib"))

import mongo
import odto
import postgres
import prometheus
import rabbitmq
import redis

# role, its plugin where a build may lack it, its variables for ports with the usual ones: the first tells whether it is ready
ROLES = (("gateway", None, {"GATEWAY_PORT": 3000}), ("processor", None, {"PROCESSOR_PORT": 8000}),
         ("metrics", None, {"METRICS_PORT": 8002}), ("read-model", None, {"READ_MODEL_PORT": 8080}),
         ("pty", "pty.so", {"PTY_METRICS_PORT": 9001, "PTY_WS_PORT": 9000}), ("web", "web.so", {"WEB_PORT": 8081}))


def say(text=""):
    print(text, flush=True)


def usual(port):
    """The usual port where nobody has it."""
    import socket
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
            return port
        except OSError:
            return odto.free_port()


class Role:
    """A host of etc/ROLE.ini, which listens on this machine only. ports: {variable: port}."""

    def __init__(self, name, ports, folder, env):
        self.name, self.port, self.dir = name, next(iter(ports.values())), folder / name
        self.dir.mkdir(parents=True, exist_ok=True)
        self.log = self.dir / "host.log"
        keep = {k: v for k, v in os.environ.items() if not k.startswith("ODTO_") and not k.endswith("_URL")}
        self.env = {**keep, **env, **{k: str(v) for k, v in ports.items()}, "ODTO_LISTEN": "127.0.0.1", "ODTO_DATA_DIR": str(self.dir), "ODTO_HOST_NAME": name,
                    "ODTO_PLUGIN_DIR": str(odto.BUILD / ".libs")}
        self.process = None

    url = property(lambda self: f"http://127.0.0.1:{self.port}")
    socket = property(lambda self: self.dir / "control.sock")

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([str(odto.HOST), "-c", str(odto.SRC / "etc" / f"{self.name}.ini")],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env,
                                            start_new_session=True)

    def wait_ready(self):
        def ready():
            if self.process.poll() is not None:
                raise odto.Failed(f"host {self.name} ended with status {self.process.returncode}; its log ends:\n"
                                  + self.log.read_text(errors="replace")[-3000:])
            return odto.Client(self.port).ready()
        odto.wait_until(ready, 60, f"host {self.name} is ready (log: {self.log})")

    def ask_to_stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def wait_end(self):
        if self.process is None:
            return 0
        try:
            return self.process.wait(30 * odto.SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Up:
    def __init__(self, folder, monitoring=False):
        self.dir, self.monitoring = folder, monitoring
        tempfile.tempdir = str(folder)  # the servers make their folders there
        self.servers, self.roles = [], []

    def start(self):
        say(f"odto up: everything is below {self.dir}")
        pg, rabbit, cache, log = postgres.Postgres(), rabbitmq.RabbitMQ(), redis.Redis(), mongo.Mongo()
        self.servers = [("PostgreSQL", pg, pg.cleanup), ("RabbitMQ", rabbit, rabbit.close), ("Redis", cache, cache.cleanup),
                        (f"MongoDB's protocol ({log.kind})", log, log.cleanup)]
        say("odto up: servers")
        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(pool.map(lambda s: s[1].start(), self.servers))
        for name, server, _ in self.servers:
            say(f"  {name:<30} 127.0.0.1:{server.port}")
        say(f"  {'RabbitMQ management':<30} http://127.0.0.1:{rabbit.api_port} (guest, guest)")
        self.env = {"RABBITMQ_URL": rabbit.url, "POSTGRES_URL": pg.url, "REDIS_URL": cache.url, "MONGO_URL": log.url}
        if self.monitoring:
            password, alerts, metrics = secrets.token_hex(), usual(9093), usual(9090)
            self.env.update({"ALERTMANAGER_URL": f"http://127.0.0.1:{alerts}", "PROMETHEUS_URL": f"http://127.0.0.1:{metrics}",
                             "WEBHOOK_PASSWORD": password})
        self.make_roles()
        if self.monitoring:
            self.start_monitoring(alerts, metrics, password)
        say("odto up: hosts")
        for r in self.roles:
            r.start()
        for r in self.roles:
            r.wait_ready()
            say(f"  {r.name:<30} {r.url}")
        say("odto up: ready. In another terminal:")
        say("  export " + " ".join(f"{k}={v}" for k, v in self.urls.items()))
        say(f"  {odto.ODTO} submit echo --wait")
        say(f"  {odto.ODTO} status " + " ".join(f"--socket {r.socket}" for r in self.roles))
        say("  tools/gate")
        say(f"  {odto.BUILD / 'odto-dashboard'}" + (f"    # in the browser: {self.role('web').url}" if self.role("web") else ""))

    def make_roles(self):
        roles = [(name, {k: usual(p) for k, p in ports.items()}) for name, module, ports in ROLES
                 if module is None or (odto.BUILD / ".libs" / module).exists()]
        for name in {r[0] for r in ROLES} - {r[0] for r in roles}:
            say(f"  {name:<30} not started: this build has no {name} plugin (libwebsockets-dev)")
        ports = {k: p for _, of_role in roles for k, p in of_role.items()}
        self.urls = {"GATEWAY_URL": f"http://127.0.0.1:{ports['GATEWAY_PORT']}",
                     "READ_MODEL_URL": f"http://127.0.0.1:{ports['READ_MODEL_PORT']}"}
        if "PTY_WS_PORT" in ports:
            self.env["PTY_BROKER_URL"] = f"ws://127.0.0.1:{ports['PTY_WS_PORT']}/ws"
        self.roles = [Role(name, of_role, self.dir, {**self.env, **self.urls}) for name, of_role in roles]

    def start_monitoring(self, alerts, metrics, password):
        manager = prometheus.Alertmanager(self.role("read-model").url + "/webhook/alerts", password, quick=False, port=alerts)
        scraper = prometheus.Prometheus({r.name: f"127.0.0.1:{r.port}" for r in self.roles}, manager, quick=False, port=metrics)
        for name, server in (("Alertmanager", manager), ("Prometheus", scraper)):
            self.servers.append((name, server, server.cleanup))
            server.start()
            say(f"  {name:<30} http://{server.address}")

    def role(self, name):
        return next((r for r in self.roles if r.name == name), None)

    def command(self, *words):
        env = {**os.environ, **self.urls, "ODTO_BUILDDIR": str(odto.BUILD)}
        return subprocess.run([str(w) for w in words], env=env).returncode

    def once(self):
        """0 when the gate passes and every host says that it is ready."""
        gate = self.command(odto.SRC / "tools" / "gate")
        sockets = [w for r in self.roles for w in ("--socket", r.socket)]
        status = self.command(odto.ODTO, "status", *sockets)
        return 1 if gate or status else 0

    def watch(self):
        """Until Ctrl-C, or until something ends that should not; then 1."""
        while True:
            for r in self.roles:
                if r.process.poll() is not None:
                    say(f"odto up: host {r.name} ended with status {r.process.returncode}; its log: {r.log}")
                    return 1
            for name, server, _ in self.servers:
                if server.process.poll() is not None:
                    say(f"odto up: {name} ended with status {server.process.returncode}")
                    return 1
            time.sleep(0.5)

    def stop(self):
        say("odto up: stopping")
        code = 0
        for r in self.roles:
            r.ask_to_stop()
        for r in self.roles:
            ended = r.wait_end()
            if ended != 0:
                say(f"  host {r.name} ended with status {ended}; its log: {r.log}")
                code = 1
        for _, _, end in reversed(self.servers):
            end()
        return code


def interrupted(number, _frame):
    raise KeyboardInterrupt(number)


def main():
    p = argparse.ArgumentParser(prog="tools/up --servers")
    p.add_argument("--once", action="store_true")
    p.add_argument("--monitoring", action="store_true")
    p.add_argument("--data")
    args = p.parse_args()
    folder = pathlib.Path(args.data or tempfile.mkdtemp(prefix="odto-up-")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    closed = [d for d in folder.parents if os.getuid() == 0 and not d.stat().st_mode & 0o001]
    if closed:
        sys.exit(f"odto up: PostgreSQL runs as a user of its own, who may not enter {closed[0]}: choose another --data")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    up, code = Up(folder, args.monitoring), 1
    try:
        up.start()
        code = up.once() if args.once else up.watch()
    except KeyboardInterrupt:
        code = 1 if args.once else 0
    except (odto.Failed, odto.Skip) as e:
        say(f"odto up: {e}")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        code = up.stop() or code
        if not args.data:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
