#!/usr/bin/env python3
"""What is in k8s/: it renders, has no field that Kubernetes does not know, names nothing that is not there, lets nobody talk to whom
he does not need, and each pod's manifest is one that odto-host takes with that pod's variables."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import odto  # noqa: E402
from odto import check, equal  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
ROLES = {"gateway", "processor", "metrics", "read-model", "web-pty-ws", "web-ui-http"}
suite = odto.Suite()
_rendered = {}


def render(overlay="local"):
    """The objects of an overlay, with made-up passwords."""
    try:
        import yaml
    except ImportError:
        raise odto.Skip("needs PyYAML (Debian package python3-yaml)") from None
    if not shutil.which("kubectl"):
        raise odto.Skip("needs kubectl 1.22 or newer: Debian 12 has an older one")
    if overlay not in _rendered:
        with tempfile.TemporaryDirectory() as tmp:
            for name in ("etc", "k8s"):
                shutil.copytree(odto.SRC / name, pathlib.Path(tmp) / name)
            secrets = pathlib.Path(tmp) / "k8s" / "overlays" / overlay / "secrets.env"
            secrets.parent.chmod(0o755)  # of a release archive that may not be written to
            secrets.unlink(missing_ok=True)
            subprocess.run([f"{tmp}/k8s/secrets", overlay], check=True, capture_output=True)
            equal(secrets.stat().st_mode & 0o777, 0o600, "who may read the passwords")
            r = subprocess.run(["kubectl", "kustomize", f"{tmp}/k8s/overlays/{overlay}"], capture_output=True, text=True)
            equal(r.returncode, 0, f"kubectl kustomize: {r.stderr}")
            _rendered[overlay] = [o for o in yaml.safe_load_all(r.stdout) if o]
    return _rendered[overlay]


def of_kind(*kinds):
    return {o["metadata"]["name"]: o for o in render() if o["kind"] in kinds}


def pods():
    """{name: pod spec} of everything that runs."""
    return {n: o["spec"]["template"]["spec"] for n, o in of_kind("Deployment", "StatefulSet").items()}


def containers():
    for name, pod in pods().items():
        for c in pod["containers"] + pod.get("initContainers", []):
            yield name, pod, c


def labels(name):
    return of_kind("Deployment", "StatefulSet")[name]["spec"]["template"]["metadata"]["labels"]


def selected(selector):
    """Names of what runs with these labels."""
    return [n for n in pods() if selector.items() <= labels(n).items()]


def port_of(pod, port):
    """A port's number, given by name or number; None: no container has it."""
    for c in pod["containers"]:
        for p in c.get("ports", []):
            if port in (p.get("name"), p["containerPort"]):
                return p["containerPort"]
    return None


@suite.test("no field that Kubernetes does not know, no value of another type")
def _():
    objects = render()
    if not shutil.which("npm"):
        raise odto.Skip("needs npm (Debian packages nodejs, npm)")
    work = odto.BUILD / "tests" / "k8s.work"
    work.mkdir(parents=True, exist_ok=True)
    lock, wanted = work / "installed.json", (HERE / "package-lock.json").read_bytes()
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copyfile(HERE / name, work / name)
    if not lock.exists() or lock.read_bytes() != wanted:
        r = subprocess.run(["npm", "ci", "--ignore-scripts", "--prefer-offline", "--loglevel=error", "--fetch-retries=1"], cwd=work,
                           capture_output=True, text=True)
        if r.returncode:
            odto.diag(r.stdout + r.stderr)
            raise odto.Skip("npm can't install kubernetes-models (no network?)")
        lock.write_bytes(wanted)

    def faults(objects):
        """What the compiler of the models' types says of the objects."""
        kinds = sorted({(o["apiVersion"], o["kind"]) for o in objects})
        lines = [f'import {{ {kind} as K{i} }} from "kubernetes-models/{version}";' for i, (version, kind) in enumerate(kinds)]
        for i, o in enumerate(objects):
            rest = {k: v for k, v in o.items() if k not in ("apiVersion", "kind")}
            lines.append(f'export const o{i} = new K{kinds.index((o["apiVersion"], o["kind"]))}({json.dumps(rest)});')
        (work / "objects.ts").write_text("\n".join(lines))
        r = subprocess.run(["node", "node_modules/typescript/bin/tsc", "--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext",
                            "--moduleResolution", "nodenext", "--target", "es2022", "objects.ts"], cwd=work, capture_output=True, text=True)
        return r.stdout
    equal(faults(objects), "", "faults")
    wrong = json.loads(json.dumps(of_kind("Deployment")["gateway"]))
    wrong["spec"]["template"]["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystems"] = True
    check("readOnlyRootFilesystems" in faults([wrong]), "a misspelt field is seen")


@suite.test("everything that is named is there: ConfigMaps, Secrets and their keys, claims, ports, targets, backends")
def _():
    config, secrets = of_kind("ConfigMap"), of_kind("Secret")
    for name, pod, c in containers():
        volumes = {v["name"]: v for v in pod.get("volumes", [])}
        claims = {v["metadata"]["name"] for v in of_kind("Deployment", "StatefulSet")[name]["spec"].get("volumeClaimTemplates", [])}
        for m in c.get("volumeMounts", []):
            check(m["name"] in volumes or m["name"] in claims, f"{name}: volume {m['name']}")
            source = volumes.get(m["name"], {}).get("configMap")
            if source and "subPath" in m:
                check(m["subPath"] in config[source["name"]]["data"], f"{name}: {m['subPath']}")
        for v in volumes.values():
            if "configMap" in v:
                check(v["configMap"]["name"] in config, f"{name}: ConfigMap {v['configMap']['name']}")
            for item in v.get("secret", {}).get("items", []):
                check(item["key"] in secrets[v["secret"]["secretName"]]["data"], f"{name}: {item['key']}")
        for e in c.get("env", []):
            ref = e.get("valueFrom", {}).get("secretKeyRef")
            check(not ref or ref["key"] in secrets[ref["name"]]["data"], f"{name}: {e['name']}")
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            for how in ("httpGet", "tcpSocket"):
                check(how not in c[probe] or port_of(pod, c[probe][how]["port"]), f"{name}: the port of {probe}")
        for word in c.get("args", []):
            if word.startswith("/etc/odto/"):
                check(word.rpartition("/")[2] in config[volumes["manifests"]["configMap"]["name"]]["data"], f"{name}: {word}")
    for name, s in of_kind("Service").items():
        behind = selected(s["spec"]["selector"])
        equal(len(behind), 1, f"what is behind Service {name}")
        for p in s["spec"]["ports"]:
            check(port_of(pods()[behind[0]], p["targetPort"]), f"Service {name}: {p['targetPort']}")
    for name, o in of_kind("StatefulSet").items():
        check(o["spec"]["serviceName"] in of_kind("Service"), f"{name}: its Service")
    for name, o in of_kind("HorizontalPodAutoscaler").items():
        check(o["spec"]["scaleTargetRef"]["name"] in of_kind("Deployment"), f"what {name} scales")
    for name, o in of_kind("PodDisruptionBudget").items():
        equal(len(selected(o["spec"]["selector"]["matchLabels"])), 1, f"what {name} keeps")
    for o in of_kind("Ingress").values():
        for rule in o["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                ports = {p["port"] for p in of_kind("Service")[backend["name"]]["spec"]["ports"]}
                check(backend["port"]["number"] in ports, f"the backend of {rule['host']}")
    check(ROLES <= set(pods()), "a pod for each role")


def wishes():
    """(who, Service, port) that the pods' variables, Prometheus, Alertmanager, Grafana and the Ingress name."""
    services, config = of_kind("Service"), of_kind("ConfigMap")
    texts = {n: " ".join(str(e.get("value", "")) for e in c.get("env", [])) for n, _, c in containers()}
    for name, pod, c in containers():
        if name in ROLES:
            continue
        for v in pod.get("volumes", []):
            if "configMap" in v:
                texts[name] += " ".join(config[v["configMap"]["name"]]["data"].values())
    for who, text in texts.items():
        for host, port in re.findall(r"(?:[/@\"])([a-z-]+):(\d+)", text):
            if host in services:
                yield who, host, int(port)
    prometheus = next(o["data"]["prometheus.yml"] for n, o in config.items() if "prometheus.yml" in o.get("data", {}))
    for host, port in re.findall(r"names: \[([a-z-]+)\], type: A, port: (\d+)", prometheus):
        yield "prometheus", host, int(port)
    for o in of_kind("Ingress").values():
        for rule in o["spec"]["rules"]:
            backend = rule["http"]["paths"][0]["backend"]["service"]
            yield "ingress", backend["name"], backend["port"]["number"]


@suite.test("who needs to talk to whom may, and nobody else")
def _():
    services, allowed = of_kind("Service"), set()
    for p in of_kind("NetworkPolicy").values():
        for to in selected(p["spec"]["podSelector"].get("matchLabels", {})):
            for rule in p["spec"].get("ingress", []):
                for source in rule["from"]:
                    who = selected(source["podSelector"]["matchLabels"]) if "podSelector" in source else ["ingress"]
                    allowed |= {(w, to, port["port"]) for w in who for port in rule["ports"]}
    needed = set()
    for who, service, port in wishes():
        to = selected(services[service]["spec"]["selector"])[0]
        numbers = [port_of(pods()[to], p["targetPort"]) for p in services[service]["spec"]["ports"] if p["port"] == port]
        equal(len(numbers), 1, f"port {port} of Service {service}, which {who} names")
        needed.add((who, to, numbers[0]))
    equal(sorted(needed - allowed), [], "needed and forbidden")
    # tickets are asked for by the page at the port of health
    equal(sorted(allowed - needed), [("web-ui-http", "web-pty-ws", 9001)], "allowed and not needed")
    check(any(p["spec"]["podSelector"] == {} and not p["spec"].get("ingress") for p in of_kind("NetworkPolicy").values()), "nothing else")


@suite.test("pods are bounded, without privileges, of a said version, without a password in sight")
def _():
    for name, pod, c in containers():
        for key, want in {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}.items():
            equal(pod["securityContext"].get(key), want, f"{name}: {key}")
        check(pod["automountServiceAccountToken"] is False, f"{name}: no token of the cluster")
        equal(c["securityContext"]["allowPrivilegeEscalation"], False, f"{name}: privileges")
        equal(c["securityContext"]["capabilities"], {"drop": ["ALL"]}, f"{name}: capabilities")
        # RabbitMQ's image writes into its own /etc at start
        equal(c["securityContext"]["readOnlyRootFilesystem"], name != "rabbitmq", f"{name}: read-only root")
        equal(set(c["resources"]), {"requests", "limits"}, f"{name}: resources")
        tag = c["image"].rpartition(":")[2]
        check(":" in c["image"] and tag != "latest", f"{name}: version of {c['image']}")
        for e in c.get("env", []):
            check("PASSWORD" not in e["name"] and "TOKEN" not in e["name"] or "valueFrom" in e, f"{name}: {e['name']} in the manifest")
            check(not re.search(r":[^/$@]+@", str(e.get("value", ""))), f"{name}: a password in {e['name']}")
        check(pod["terminationGracePeriodSeconds"] >= 30, f"{name}: time to drain")
        if name in ROLES:
            equal((c["livenessProbe"]["httpGet"]["path"], c["readinessProbe"]["httpGet"]["path"]), ("/livez", "/readyz"))
    equal(odto.SRC.joinpath("VERSION").read_text().strip(), pods()["gateway"]["containers"][0]["image"].rpartition(":")[2], "the image's version")


def environment(container):
    """A container's variables, secrets made up."""
    env = {}
    for e in container.get("env", []):
        value = e.get("value", "a1b2c3")
        env[e["name"]] = re.sub(r"\$\((\w+)\)", lambda m: env[m[1]], value)
    return env


@suite.test("each pod's manifest is one that odto-host takes with its variables")
def _():
    config = of_kind("ConfigMap")
    for name, pod, c in containers():
        if name not in ROLES:
            continue
        source = next(v["configMap"]["name"] for v in pod["volumes"] if v["name"] == "manifests")
        with tempfile.TemporaryDirectory() as tmp:
            for file, text in config[source]["data"].items():
                (pathlib.Path(tmp) / file).write_text(text)
            file = f"{tmp}/{c['args'][1].rpartition('/')[2]}"
            env = {"PATH": os.environ["PATH"], "ODTO_PLUGIN_DIR": str(odto.BUILD / ".libs"), "ODTO_DATA_DIR": tmp, **environment(c)}
            r = subprocess.run([str(odto.HOST), "-c", file, "--check"], capture_output=True, text=True, env=env)
            equal(r.returncode, 0, f"{name}: {r.stdout}{r.stderr}")
            ports = [int(p) for p in re.findall(r"^listen\w*\s*=.*:(?:\$\{\w+:-)?(\d+)", config[source]["data"][c["args"][1][10:]], re.M)]
            equal(sorted(p["containerPort"] for p in c["ports"]), sorted(ports), f"{name}: ports")


@suite.test("the monitoring's files are those of etc/monitoring with the addresses of the cluster, and valid")
def _():
    base, etc = odto.SRC / "k8s" / "base", odto.SRC / "etc" / "monitoring"

    def words(path):
        return [line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    ours, theirs = words(base / "alertmanager.yml"), words(etc / "alertmanager.yml")
    equal(len(ours), len(theirs), "lines of alertmanager.yml")
    for a, b in zip(ours, theirs):
        check(a == b or a.split(": ")[0] == b.split(": ")[0] and a.split()[0] in ("-", "password_file:"), f"{a} beside {b}")
    jobs = set(re.findall(r"job: (\w[\w-]*)\}", (etc / "targets.yml").read_text())) - {"odto"}
    equal(set(re.findall(r"job_name: (\S+)", (base / "prometheus.yml").read_text())) - {"rabbitmq"}, jobs, "jobs that alerts name")
    if not shutil.which("promtool") or not shutil.which("amtool"):
        raise odto.Skip("needs promtool and amtool (Debian packages prometheus, prometheus-alertmanager)")
    with tempfile.TemporaryDirectory() as tmp:
        text = (base / "prometheus.yml").read_text()
        pathlib.Path(tmp, "prometheus.yml").write_text(text.replace("/etc/prometheus/rules/", f"{etc}/"))
        shutil.copy(base / "alertmanager.yml", tmp)
        for command in (["promtool", "check", "config", "prometheus.yml"], ["amtool", "check-config", "alertmanager.yml"]):
            r = subprocess.run(command, cwd=tmp, capture_output=True, text=True)
            equal(r.returncode, 0, f"{command}: {r.stdout}{r.stderr}")


if __name__ == "__main__":
    suite.main()
