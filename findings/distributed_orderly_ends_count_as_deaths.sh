#!/usr/bin/env bash
# distributed 2026.8.0: cluster jobs end in order (SIGTERM at the end of their wall time, another job takes over). With
# a worker resource, as for one task per GPU, every waiting task is assigned to the one worker that has it, and each
# orderly end counts as a death for all of them. After four ends (allowed-failures is 3) all 20 tasks are in error with
# KilledWorker, though at most four ever started and none was harmed. Raise distributed.scheduler.allowed-failures.
set -euo pipefail
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q distributed==2026.8.0 dask==2026.8.0 2>/dev/null
cat > "$work/ends.py" <<'PY'
import signal
import subprocess
import sys
import time

from distributed import Client, LocalCluster

WORKER = ["-m", "distributed.cli.dask_worker", "--nthreads", "1", "--resources", "GPU=1", "--no-dashboard"]


def segment(number, log):
    with open(log, "a") as file:
        file.write(f"{number}\n")
    time.sleep(30)


if __name__ == "__main__":
    log = sys.argv[1]
    with LocalCluster(n_workers=0, dashboard_address=None) as cluster, Client(cluster) as client:
        futures = None
        for _ in range(4):
            command = [sys.executable, *WORKER, cluster.scheduler_address]
            worker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            client.wait_for_workers(1)
            if futures is None:
                futures = [client.submit(segment, i, log, resources={"GPU": 1}, pure=False) for i in range(20)]
            time.sleep(2)
            worker.send_signal(signal.SIGTERM)
            worker.wait()
        time.sleep(1)
        failed = [future for future in futures if future.status == "error"]
        started = len(set(open(log).read().split()))
        print(f"{len(failed)} of 20 tasks in error after four orderly ends of workers; {started} of them ever started")
        print("the error:", type(failed[0].exception()).__name__ if failed else None)
        assert len(failed) == 20 and started <= 4, "the behaviour has changed"
PY
"$work/env/bin/python" "$work/ends.py" "$work/started.txt" 2>/dev/null
