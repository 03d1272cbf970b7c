"""A small network of the test's own: the servers stay in this process's namespace, every host has one of its own with its
own address, and single links can be cut one way or both ways.

    net.enter()                       # first of all: begins the program again in a new network namespace
    with net.Network() as n:
        n.address                     # of this side, where the servers listen
        place = n.place()             # place.address; place.command([...]) runs something there
        cut = n.cut(place, "up")      # what the host sends is dropped; "down": what it is sent; "both"
        n.heal(cut)

A link is cut by rules of the routing table on this side: packets vanish, and nobody is told."""
import os
import shutil
import subprocess

import odto

PREFIX = "10.77.0"


def possible():
    """Whether this machine lets us have network namespaces."""
    if not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        return False
    script = "ip link add o1 type veth peer name o2 && ip link add o3 type bridge && ip rule add pref 9 to 10.77.0.9 blackhole"
    return subprocess.run(["unshare", "-n", "sh", "-c", script], capture_output=True).returncode == 0


def enter():
    """Go on in a network namespace of this program's own (it begins again), where that is possible."""
    if os.environ.get("ODTO_TEST_NET") or not possible():
        return
    os.environ["ODTO_TEST_NET"] = "own"
    import sys
    os.execvp("unshare", ["unshare", "-n", sys.executable, *sys.argv])


def run(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise odto.Failed(f"{' '.join(words)}: {done.stderr.strip()}")


class Place:
    """A network namespace with one address. It lives as long as its holder, so a host can be killed and started there."""

    def __init__(self, number):
        self.address = f"{PREFIX}.{number}"
        self.holder = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep infinity"], stdout=subprocess.PIPE)
        self.holder.stdout.readline()
        pid, here, there = str(self.holder.pid), f"h{number}", f"v{number}"
        run("ip", "link", "add", here, "type", "veth", "peer", "name", there)
        run("ip", "link", "set", there, "netns", pid)
        run("ip", "link", "set", here, "master", "odto", "up")
        run(*self.command(["ip", "link", "set", "lo", "up"]))
        run(*self.command(["ip", "addr", "add", f"{self.address}/24", "dev", there]))
        run(*self.command(["ip", "link", "set", there, "up"]))

    def command(self, words):
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", *words]

    def close(self):
        self.holder.kill()
        self.holder.wait()


class Here:
    """Instead of a Place where there are no namespaces: this side's own loopback."""

    address = "127.0.0.1"

    def command(self, words):
        return words

    def close(self):
        pass


class Network:
    """separate: whether hosts have namespaces; without them nothing can be cut here."""

    def __init__(self):
        self.separate = os.environ.get("ODTO_TEST_NET") == "own"
        self.places, self.cuts = [], {}
        self.address = f"{PREFIX}.1" if self.separate else "127.0.0.1"

    def __enter__(self):
        if self.separate:
            run("ip", "link", "set", "lo", "up")
            run("ip", "link", "add", "odto", "type", "bridge")
            run("ip", "addr", "add", f"{self.address}/24", "dev", "odto")
            run("ip", "link", "set", "odto", "up")
            # behind the rules that cut: what comes in asks the table of local addresses first otherwise
            run("ip", "rule", "add", "pref", "1000", "lookup", "local")
            run("ip", "rule", "del", "pref", "0")
        return self

    def __exit__(self, *_):
        for p in self.places:
            p.close()

    def place(self):
        self.places.append(Place(10 + len(self.places)) if self.separate else Here())
        return self.places[-1]

    def cut(self, place, way, port=None):
        """Drop what goes between a place and this side (one port of it), until heal(what is returned)."""
        a, b, tcp = place.address, self.address, ["ipproto", "tcp"] if port else []
        up = ["from", a, "to", b, *tcp, *(["dport", str(port)] if port else [])]
        down = ["from", b, "to", a, *tcp, *(["sport", str(port)] if port else [])]
        rules = [up] * (way in ("up", "both")) + [down] * (way in ("down", "both"))
        pref = next(i for i in range(10, 900) if i not in self.cuts)
        self.cuts[pref] = rules
        for rule in rules:
            run("ip", "rule", "add", "pref", str(pref), *rule, "blackhole")
        return pref

    def heal(self, pref):
        for rule in self.cuts.pop(pref):
            run("ip", "rule", "del", "pref", str(pref), *rule, "blackhole")
