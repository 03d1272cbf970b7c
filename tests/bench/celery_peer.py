"""A peer for the row of the servers: Celery on RabbitMQ, one worker of two processes, late acknowledgement, tasks of nothing.
celery_peer.py BROKER-URL N prints tasks a second, from the first publish to the end of the last task."""
import subprocess
import sys
import time

from celery import Celery

app = Celery("celery_peer", broker=sys.argv[1] if len(sys.argv) > 1 and sys.argv[1].startswith("amqp") else None)
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=64, task_ignore_result=True, worker_hijack_root_logger=False)


@app.task
def nothing(payload):
    return None


def main():
    url, n = sys.argv[1], int(sys.argv[2])
    worker = subprocess.Popen([sys.executable, "-m", "celery", "-A", "celery_peer", "-b", url, "worker", "-c", "2", "-l", "ERROR",
                               "--without-gossip", "--without-mingle", "--without-heartbeat"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with app.connection_for_write() as connection:
            queue = connection.default_channel
            begun = time.monotonic()
            with app.amqp.producer_pool.acquire(block=True) as producer:
                for i in range(n):
                    nothing.apply_async((i,), producer=producer)
            while True:
                declared = queue.queue_declare("celery", passive=True)
                if declared.message_count == 0 and unacknowledged(app) == 0:
                    break
                time.sleep(0.05)
            print(f"{n / (time.monotonic() - begun):.0f}")
    finally:
        worker.terminate()
        worker.wait()


def unacknowledged(a):
    active = a.control.inspect(timeout=1).stats() or {}
    done = sum(sum(s["total"].values()) for s in active.values())
    return 0 if done >= int(sys.argv[2]) else 1


if __name__ == "__main__":
    main()
