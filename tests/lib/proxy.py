"""A TCP proxy between two parties of a test, with the faults of a network: cut, one-way stall, delay, refusal.

    with proxy.Proxy(pg.port) as link:
        … link.port …
        link.cut()          # every connection ends at once, new ones work
        link.stall("down")  # what the server says no longer arrives; "up": what the client says; None: flows again
        link.refuse(True)   # new connections are closed at once
        link.delay = 0.02   # seconds, each way
        link.lossy(0.2, 1)  # that share of what is read waits up to a second first, as for retransmissions; lossy(0): no more
        link.swallow("up")  # what the client says vanishes; None: flows again, and connections that lost bytes end
        link.tear()         # the next bytes either way arrive but for the last one, then that connection ends

One thread a direction of a connection. cut_when(bytes) cuts as soon as a client has sent text that holds them: in the
middle of a transaction, after the client has sent it and before it hears of it, with forward=False also before the
server has it."""
import random
import socket
import struct
import threading
import time


class Proxy:
    def __init__(self, port, host="127.0.0.1", listen="127.0.0.1"):
        self.target = (host, port)
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.pairs = set()
        self.delay = 0.0
        self.stalled = None
        self.refusing = False
        self.trigger = None
        self.loss, self.held = 0.0, 0.0
        self.swallowing, self.robbed = None, set()
        self.tearing = False
        self.cuts = 0
        self.connections = 0
        self.listener = socket.create_server((listen, 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.refusing:
                client.close()
                continue
            try:
                server = socket.create_connection(self.target, 10)
            except OSError:
                client.close()
                continue
            for s in (client, server):
                s.settimeout(None)
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = (client, server)
            with self.lock:
                self.pairs.add(pair)
                self.connections += 1
            for source, sink, way in ((client, server, "up"), (server, client, "down")):
                threading.Thread(target=self._pump, args=(pair, source, sink, way), daemon=True).start()

    def _pump(self, pair, source, sink, way):
        try:
            while data := source.recv(65536):
                if self.delay:
                    time.sleep(self.delay)
                with self.changed:
                    while self.stalled in (way, "both") and pair in self.pairs:
                        self.changed.wait()
                    trigger = self.trigger if way == "up" else None
                    hit = trigger and trigger[0] in data
                    if hit:
                        self.trigger = None
                    if self.loss and random.random() < self.loss:
                        self.changed.wait_for(lambda: not self.loss or pair not in self.pairs, random.uniform(0, self.held))
                    if self.swallowing in (way, "both"):
                        self.robbed.add(pair)
                        continue
                    torn, self.tearing = self.tearing, False
                if torn:
                    sink.sendall(data[:-1])
                    break
                if hit and not trigger[1]:
                    self._close(pair)
                    break
                sink.sendall(data)
                if hit:
                    # the server has it all; it answers nobody
                    self._close(pair, only=pair[0])
                    break
        except OSError:
            pass
        self._close(pair)

    def _close(self, pair, only=None):
        with self.changed:
            self.pairs.discard(pair)
            self.robbed.discard(pair)
            self.cuts += 1
            self.changed.notify_all()
        for s in pair if only is None else (only,):
            try:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()

    def cut(self):
        with self.lock:
            pairs = list(self.pairs)
        for pair in pairs:
            self._close(pair)

    def cut_when(self, text, forward=True):
        with self.lock:
            self.trigger = (text, forward)

    @property
    def armed(self):
        return self.trigger is not None

    def stall(self, way):
        with self.changed:
            self.stalled = way
            self.changed.notify_all()

    def lossy(self, share, held=0.0):
        with self.changed:
            self.loss, self.held = share, held
            self.changed.notify_all()

    def swallow(self, way):
        with self.changed:
            self.swallowing = way
            robbed = list(self.robbed) if way is None else []
        for pair in robbed:
            self._close(pair)

    def tear(self, yes=True):
        with self.lock:
            self.tearing = yes

    def refuse(self, yes):
        self.refusing = yes
        if yes:
            self.cut()

    def close(self):
        self.stall(None)
        self.listener.close()
        self.cut()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
