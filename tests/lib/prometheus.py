"""Private Prometheus and Alertmanager servers, with the configuration of etc/monitoring: for tests, quick=True makes minutes seconds."""
import json
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request

import odto
from server import Server

CONFIG = odto.SRC / "etc" / "monitoring"


def missing():
    """Why they can't be started, or None."""
    for program, package in (("prometheus", "prometheus"), ("promtool", "prometheus"), ("prometheus-alertmanager", "prometheus-alertmanager")):
        if not shutil.which(program):
            return f"{program} is not installed (Debian: {package})"
    return None


def get(url, **query):
    """The answer's JSON; a refusal raises odto.Failed with its text."""
    try:
        with urllib.request.urlopen(url + ("?" + urllib.parse.urlencode(query) if query else ""), timeout=10) as r:
            return json.load(r)
    except urllib.error.HTTPError as e:
        raise odto.Failed(f"{url} {query}: {e.read().decode(errors='replace')}") from None


class Alertmanager(Server):
    """With etc/monitoring/alertmanager.yml, its webhook at a read model."""

    name = "alertmanager"

    def __init__(self, webhook, password, quick=True, **more):
        super().__init__(**more)
        text = (CONFIG / "alertmanager.yml").read_text().replace("http://localhost:8080/webhook/alerts", webhook)
        if quick:
            text = text.replace("group_wait: 30s", "group_wait: 100ms").replace("group_interval: 5m", "group_interval: 1s")
        (self.dir / "alertmanager.yml").write_text(text)
        (self.dir / "webhook-password").write_text(password)

    def command(self):
        return ["prometheus-alertmanager", "--config.file=alertmanager.yml", f"--web.listen-address=127.0.0.1:{self.port}",
                "--cluster.listen-address=", f"--storage.path={self.dir}/data"]

    def answers(self):
        return get(f"http://{self.address}/api/v2/status") is not None

    @property
    def url(self):
        return f"http://{self.address}"


class Prometheus(Server):
    """With the rules of etc/monitoring; quick: they fire after a second."""

    name = "prometheus"

    def __init__(self, targets, alertmanager=None, quick=True, **more):
        super().__init__(**more)
        text = (CONFIG / "prometheus.yml").read_text().replace("localhost:9093", alertmanager.address if alertmanager else "127.0.0.1:1")
        rules = (CONFIG / "alerts.yml").read_text()
        if quick:
            text, rules = text.replace("interval: 5s", "interval: 200ms"), re.sub(r"for: \d+[ms]", "for: 1s", rules)
        (self.dir / "prometheus.yml").write_text(text)
        (self.dir / "alerts.yml").write_text(rules)
        self.targets(targets)

    def targets(self, jobs):
        """{job: address}"""
        (self.dir / "targets.yml").write_text(json.dumps([{"targets": [a], "labels": {"job": j}} for j, a in jobs.items()]))

    def command(self):
        return ["prometheus", "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{self.port}",
                f"--storage.tsdb.path={self.dir}/data"]

    def answers(self):
        try:
            return get(f"http://{self.address}/api/v1/status/buildinfo")["status"] == "success"
        except odto.Failed:  # 503 while it reads what it has
            return False

    def query(self, expression):
        return get(f"http://{self.address}/api/v1/query", query=expression)["data"]["result"]

    def firing(self):
        """{alertname: its labels}"""
        alerts = get(f"http://{self.address}/api/v1/alerts")["data"]["alerts"]
        return {a["labels"]["alertname"]: a["labels"] for a in alerts if a["state"] == "firing"}
