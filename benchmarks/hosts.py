"""Time lost when a host vanishes from a Ray cluster: ``python -m benchmarks.hosts`` (Linux, root; ten minutes).

This needs iproute2. Two hosts are two network namespaces with a cable between them; they share one file system. Two runs
of the digits train, one on each host. Then the second host's cable is cut, or its raylet killed, and the messages of the
command are timed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from benchmarks.rows import csv_file, origin, write
from lpm.console import cli
from lpm.console.errors import InvalidInput

ADDRESSES = "10.77.0.1", "10.77.0.2"
"""Addresses of the two hosts."""
PORT = 6379
"""Port of the first host's Ray."""
VANISH = "cut", "kill"
"""Ways for the second host to vanish: its cable is cut, or its raylet killed."""
MESSAGES = {
    "given_up": "has been marked dead",
    "taken_up": "so the task will be retried",
    "ended": "Test accuracy in %",
}
"""Messages of Ray and of the command: the cluster gives up the host, the run starts again, and all runs have ended."""


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[str, str]]:
    """Make two hosts with ``ADDRESSES`` on their interfaces cable1 and cable2.

    Yields:
        The names of the two network namespaces.

    Raises:
        InvalidInput: if none can be made.
    """
    prefix = uuid4().hex[:6]
    names, made = (f"{prefix}-1", f"{prefix}-2"), list[str]()
    try:
        try:
            for name in names:
                ip(f"netns add {name}")
                made.append(name)
            ip(f"link add cable1 netns {names[0]} type veth peer name cable2 netns {names[1]}")
            for number, (name, address) in enumerate(zip(names, ADDRESSES, strict=True), 1):
                ip(f"-n {name} addr add {address}/24 dev cable{number}")
                ip(f"-n {name} link set lo up")
                ip(f"-n {name} link set cable{number} up")
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", "") or error
            raise InvalidInput(f"network namespaces need Linux, iproute2 and root: {str(reason).strip()}") from None
        yield names
    finally:
        for name in made:
            ip(f"netns delete {name}")


def ip(words: str) -> None:
    """Run a command of iproute2.

    Args:
        words: its arguments.

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    subprocess.run(["ip", *words.split()], check=True, capture_output=True, text=True)


def measured(vanish: str, epochs: int, folder: Path) -> dict[str, str]:
    """Train on two hosts, make the second one vanish, and time what follows.

    Args:
        vanish: "cut" (the cable) or "kill" (the raylet).
        epochs: epochs of each run.
        folder: folder for the run store.

    Returns:
        Seconds from the host's end until each of ``MESSAGES``, empty where it did not come; and the command's exit
        status.

    Raises:
        InvalidInput: if the hosts cannot be made, Ray does not start, or the command ends too early.
    """
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with two_hosts() as hosts, contextlib.ExitStack() as started:

        def start(host: str, *words: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                ["ip", "netns", "exec", host, sys.executable, "-m", *words], env={**os.environ, **environment},
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
            )  # fmt: skip
            started.callback(_end, process)
            return process

        node = ["ray.scripts.scripts", "start", "--block", "--num-cpus", "1"]
        head = ["--head", "--port", str(PORT), "--include-dashboard", "false", "--temp-dir", str(folder / "ray")]
        nodes = [start(hosts[0], *node, "--node-ip-address", ADDRESSES[0], *head)]
        _wait_for(nodes[0], "Ray runtime started")
        worker = ["--node-ip-address", ADDRESSES[1], "--address", f"{ADDRESSES[0]}:{PORT}"]
        nodes.append(start(hosts[1], *node, *worker))
        _wait_for(nodes[1], "Ray runtime started")
        words = ["training.compare", "--method", "random+FC", "CAS+FC", "--seeds", "0", "--epochs", str(epochs)]
        words += [
            "--store",
            str(folder / "store"),
            "--device",
            "cpu",
            "--engine",
            "ray",
            "--address",
            f"{ADDRESSES[0]}:{PORT}",
        ]
        command = start(hosts[0], *words)
        while any(len(rows) < epochs // 10 for rows in _epochs(folder / "store")):
            if command.poll() is not None:
                raise InvalidInput(f"the command ended before the host vanished: {command.communicate()[0][-300:]}")
            time.sleep(0.2)
        if vanish == "cut":
            ip(f"-n {hosts[1]} link set cable2 down")
        else:
            _kill_raylet(ADDRESSES[1])
        vanished, times = time.monotonic(), dict.fromkeys(MESSAGES, "")
        assert command.stdout is not None
        for line in command.stdout:
            for name, message in MESSAGES.items():
                if message in line and not times[name]:
                    times[name] = f"{time.monotonic() - vanished:.0f}"
        return {"vanish": vanish, "epochs": str(epochs), **times, "status": str(command.wait())}


def _epochs(store: Path) -> list[list[str]]:
    """Return the lines of both runs' epochs; none for a run that has not begun."""
    files = list(store.glob("*/*/epochs.jsonl"))
    return [file.read_text().splitlines() for file in files] + [[]] * (2 - len(files))


def _wait_for(process: subprocess.Popen[str], words: str) -> None:
    """Read the output of a process until these words come. Raise InvalidInput if it ends without them."""
    assert process.stdout is not None
    if not any(words in line for line in process.stdout):
        raise InvalidInput("Ray does not start; install the extra `cluster`")


def _kill_raylet(address: str) -> None:
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # the process has just ended
            if f"--node_ip_address={address}" in file.read_text() and "/raylet" in file.read_text().partition("\0")[0]:
                os.kill(int(file.parent.name), signal.SIGKILL)


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and its children; ``ray start`` ends its own."""
    process.terminate()
    try:
        process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status.
    """
    parser = cli.Parser("benchmarks.hosts", "time that a run loses when its host vanishes from a Ray cluster")
    add = parser.add_argument
    ways = "|".join(VANISH) + ": cut its cable, or kill its raylet"
    add("--vanish", type=cli.choice(*VANISH), nargs="+", default=VANISH, metavar="HOW", help=ways)
    add("--epochs", type=int, default=150, metavar="N", help="epochs of each run, which should take more than a minute")
    add("--out", type=csv_file, metavar="CSV", help="file for the rows")
    options = parser.parse_args(arguments)
    rows = []
    for vanish in options.vanish:
        # The prefix is short, because the folder holds sockets, whose paths have a limit.
        with tempfile.TemporaryDirectory(prefix="h-", ignore_cleanup_errors=True) as folder:
            rows.append(measured(vanish, options.epochs, Path(folder)) | origin())
        print(", ".join(f"{name} {value}" for name, value in list(rows[-1].items())[:6]), flush=True)
    write(options.out, rows)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
