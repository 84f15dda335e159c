"""A Ray cluster on loopback for tests: a head and as many more nodes as are asked for, each in
processes of its own, by Ray's own tool for this.

    python tests/helpers/cluster.py FOLDER GPUS

Says HOST:PORT; for each line of standard input starts a node with one core and says the process id
of its raylet, of which all other processes of the node are children. Each node says that it has so
many GPUs. Ends with its input.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

# What a driver on loopback needs, too: else Ray replaces 127.0.0.1 by the machine's own address.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
# A node that was killed is missed after six seconds, not fifteen: its socket refuses at once. One
# that only waits for a core of a busy machine is not taken for dead, nor one that has just begun:
# after a single refusal gRPC reports the next two seconds' checks as failed, too.
HEALTH = {
    "RAY_health_check_initial_delay_ms": "5000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "120000",
    "RAY_health_check_failure_threshold": "6",
}
NODE = {"num_cpus": 1, "object_store_memory": 300_000_000, "include_log_monitor": False}


class Cluster:
    """A running cluster: its address, and the raylets of its nodes."""

    def __init__(self, process: subprocess.Popen):
        self.process, self.nodes = process, []
        self.address = process.stdout.readline().strip()
        self.head = int(process.stdout.readline())

    def add(self) -> int:
        """Start a node; the process id of its raylet."""
        print(file=self.process.stdin, flush=True)
        self.nodes.append(int(self.process.stdout.readline()))
        return self.nodes[-1]

    def processes(self) -> list[int]:
        """All processes of the cluster."""
        return descendants(self.process.pid)

    def kill(self, node: int) -> None:
        """End all processes of a node by SIGKILL, at once."""
        kill([node, *descendants(node)])
        self.nodes.remove(node)


@contextmanager
def started(gpus: int = 0):
    """A cluster of a head and one more node, each of which pretends to have so many GPUs."""
    pipe = subprocess.PIPE
    # Sockets ask for a short path; what is just being killed may still write into it.
    with tempfile.TemporaryDirectory(
        prefix="ray-", dir="/tmp", ignore_cleanup_errors=True
    ) as folder:
        env = os.environ | LOOPBACK | HEALTH | {"RAY_TMPDIR": folder}
        command = [sys.executable, __file__, folder, str(gpus)]
        with open(f"{folder}/log", "w") as log:
            process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=log, text=True, env=env
            )
        try:
            cluster = Cluster(process)
            cluster.add()
            yield cluster
        except BaseException:
            print(complaints(Path(folder)))
            raise
        finally:
            kill([process.pid, *descendants(process.pid)])  # the first, so that it starts no more
            process.communicate()


def complaints(folder: Path) -> str:
    """What the processes of a cluster complained of, to be shown where a test fails."""
    lines = [(folder / "log").read_text(errors="replace")]
    for log in sorted(folder.glob("ray/session_2*/logs/*.*")):
        for line in log.read_text(errors="replace").splitlines():
            if re.match(r"\[.{23} [WECF] ", line):
                lines.append(f"{log.name}: {line[:300]}")
    return "\n".join(lines[-200:])


def kill(processes: list[int]) -> None:
    for process in processes:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue


def descendants(process: int) -> list[int]:
    """The processes that a process started, and those that these started."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has just ended
            continue
    found, waiting = [], [process]
    while waiting:
        parent = waiting.pop()
        children = [child for child, of in parents.items() if of == parent]
        found += children
        waiting += children
    return found


def main() -> None:
    from ray.cluster_utils import Cluster as Nodes

    Path(sys.argv[1], "ray").mkdir(exist_ok=True)
    node = NODE | {"num_gpus": int(sys.argv[2])}
    head = node | {"include_dashboard": False, "no_monitor": True}
    nodes = Nodes(initialize_head=True, head_node_args=head)
    print(nodes.address, raylet(nodes.head_node), sep="\n", flush=True)
    for _ in sys.stdin:
        print(raylet(nodes.add_node(**node)), flush=True)


def raylet(node) -> int:
    return node.all_processes["raylet"][0].process.pid


if __name__ == "__main__":
    main()
