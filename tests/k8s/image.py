#!/usr/bin/env python3
"""The image of Dockerfile, a container of each role as its pod in k8s/ is described (user, read-only root, no capabilities, memory,
variables, ConfigMap), against private servers: ready, the gate passes, the page's way to a terminal, and an orderly end.

Run by hand, as root: it needs podman (or docker, ODTO_CONTAINERS=docker) and some minutes to build the image; ODTO_IMAGE names one that
is there already. Everything runs in a network namespace of its own, so the usual ports are free."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import manifests  # noqa: E402
import mongo  # noqa: E402
import odto  # noqa: E402
import postgres  # noqa: E402
import rabbitmq  # noqa: E402
import redis  # noqa: E402
from odto import equal, wait_until  # noqa: E402
from terminal import Binary  # noqa: E402

ENGINE = os.environ.get("ODTO_CONTAINERS", "podman")
TOKEN = "a1b2c3"  # what manifests.environment() makes of secrets
suite = odto.Suite()


def engine(*words, fails=False, **more):
    r = subprocess.run([ENGINE, *map(str, words)], capture_output=True, text=True, **more)
    if r.returncode and not fails:
        raise odto.Failed(f"{ENGINE} {words[0]}: {r.stdout[-3000:]}{r.stderr[-3000:]}")
    return r


def image():
    if os.getuid() or not shutil.which(ENGINE):
        raise odto.Skip(f"needs root and {ENGINE}")
    if name := os.environ.get("ODTO_IMAGE"):
        return name
    r = engine("run", "--rm", "debian:bookworm-slim", "true", fails=True)
    if r.returncode:
        raise odto.Skip(f"no container of debian:bookworm-slim runs here: {r.stderr.strip()[-200:]}")
    odto.diag("building the image")
    engine("build", "--format", "docker", "--network", "host", "-t", "odto:test", odto.SRC)
    return "odto:test"


class Pod:
    """The container of a role's pod, on this namespace's network."""

    def __init__(self, role, image_name, urls, folder):
        pod = manifests.pods()[role]
        c = pod["containers"][0]
        self.role, self.container, self.grace = role, c, pod["terminationGracePeriodSeconds"]
        self.name = f"odto-{os.getpid()}-{role}"
        config, data = folder / role / "manifests", folder / role / "data"
        config.mkdir(parents=True)
        data.mkdir()
        source = next(v["configMap"]["name"] for v in pod["volumes"] if v["name"] == "manifests")
        for file, text in manifests.of_kind("ConfigMap")[source]["data"].items():
            (config / file).write_text(text)
        user = pod["securityContext"]["runAsUser"]
        os.chown(data, user, user)
        env = {**manifests.environment(c), **{k: v for k, v in urls.items() if any(e["name"] == k for e in c["env"])}}
        words = ["run", "-d", "--name", self.name, "--network", "host", "--user", f"{user}:{user}", "--read-only", "--cap-drop", "all",
                 "--security-opt", "no-new-privileges", "--memory", c["resources"]["limits"]["memory"].replace("Mi", "m"),
                 "--tmpfs", "/tmp:rw,exec,size=64m", "-v", f"{config}:/etc/odto:ro", "-v", f"{data}:/var/lib/odto"]
        words += [w for s in manifests.of_kind("Service") for w in ("--add-host", f"{s}:127.0.0.1")]
        words += [w for k, v in env.items() for w in ("-e", f"{k}={v}")]
        engine(*words, image_name, *c["args"])

    def probe(self, which):
        at = self.container[which]["httpGet"]
        port = next(p["containerPort"] for p in self.container["ports"] if p["name"] == at["port"])
        return odto.Client(port).get(at["path"]).status == 200

    def log(self):
        r = engine("logs", self.name, fails=True)
        return r.stdout + r.stderr

    def wait_ready(self):
        def ready():
            if engine("inspect", "-f", "{{.State.Running}}", self.name).stdout.strip() != "true":
                raise odto.Failed(f"{self.role} ended:\n{self.log()[-3000:]}")
            return self.probe("livenessProbe") and self.probe("readinessProbe")
        try:
            wait_until(ready, 60, f"{self.role} is ready", every=0.2)
        except odto.Failed as e:
            raise odto.Failed(f"{e}\n{self.log()[-3000:]}") from None

    def stop(self):
        """Its exit status and the seconds it took to end."""
        began = time.monotonic()
        engine("stop", "-t", self.grace, self.name)
        return int(engine("inspect", "-f", "{{.State.ExitCode}}", self.name).stdout), time.monotonic() - began

    def remove(self):
        engine("rm", "-f", self.name, fails=True)


@suite.test("a container of each role as its pod is described: ready, the gate, a terminal through the page, an orderly end")
def _():
    objects = manifests.render()
    name = image()
    names = engine("run", "--rm", "--network", "none", "--entrypoint", "/usr/bin/id", name, "-u")
    equal(names.stdout.strip(), "10001", "who it is where nobody says so")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="odto-image-"))
    folder.chmod(0o755)
    odto.check(objects, "objects")
    ended = {}
    with postgres.Postgres() as pg, rabbitmq.RabbitMQ(management=False) as broker, redis.Redis(password=TOKEN) as cache, mongo.Mongo() as log:
        urls = {"RABBITMQ_URL": broker.url, "POSTGRES_URL": pg.url, "REDIS_URL": f"redis://{cache.address}/0", "MONGO_URL": log.url}
        pods = []
        try:
            for role in sorted(manifests.ROLES):
                pods.append(Pod(role, name, urls, folder))
            for pod in pods:
                pod.wait_ready()
            gate = subprocess.run([str(odto.SRC / "tools" / "gate")], capture_output=True, text=True,
                                  env={**os.environ, "ODTO_BUILDDIR": str(odto.BUILD), "GATEWAY_URL": "http://127.0.0.1:3000",
                                       "READ_MODEL_URL": "http://127.0.0.1:8080"})
            equal(gate.returncode, 0, gate.stdout + gate.stderr)
            odto.diag(gate.stdout.strip().splitlines()[-1])
            origin = manifests.environment(next(p for p in pods if p.role == "web-ui-http").container)["WEB_ORIGINS"]
            host = origin.split("//")[1]
            page = odto.Client(8081).get("/", Host=host)
            equal(page.status, 200, "the page")
            terminal = Binary(8081, f"/ws?auth={TOKEN}", origin=origin, host=host)
            try:
                terminal.expect("Distributed Task Observatory")
            except odto.Failed as e:
                raise odto.Failed(f"{e}\n" + "\n".join(p.log()[-1500:] for p in pods if p.role.startswith("web"))) from None
            terminal.close()
            for pod in pods:
                odto.check(TOKEN not in re.sub(r"auth=\S*", "", pod.log()), f"no secret in the log of {pod.role}")
            for pod in reversed(pods):
                ended[pod.role] = pod.stop()
        finally:
            for pod in pods:
                pod.remove()
            shutil.rmtree(folder, ignore_errors=True)
    odto.diag(", ".join(f"{role} ended in {seconds:.1f} s" for role, (_, seconds) in ended.items()))
    equal({role: status for role, (status, _) in ended.items()}, dict.fromkeys(manifests.ROLES, 0), "exit statuses")


if __name__ == "__main__":
    if os.getuid() == 0 and "ODTO_OWN_NETWORK" not in os.environ:
        os.environ["ODTO_OWN_NETWORK"] = "yes"
        os.execvp("unshare", ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$0" "$@"', sys.executable, *sys.argv])
    suite.main()
