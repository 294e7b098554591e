"""Commands as a user starts them: in processes of their own, waited for, and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from training.runs import RunFolder, find

ROOT = Path(__file__).parent.parent


class Command:
    """``python -m`` and these words, in a session of its own, one thread a process."""

    def __init__(self, *words: str, **environment: str) -> None:
        self.mark = f"COMMAND_OF_A_TEST={uuid4().hex}"
        name, _, value = self.mark.partition("=")
        self.process = subprocess.Popen(
            [sys.executable, "-m", *words], cwd=ROOT, start_new_session=True, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", name: value, **environment},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def ends(self) -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        try:
            out, err = self.process.communicate(timeout=240)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.communicate()
        return self.process.returncode, out, err

    def alive(self) -> set[str]:
        """Names of its processes and their children, at any depth, that still live."""
        return {(Path("/proc") / str(pid) / "cmdline").read_bytes().rstrip(b"\0").decode() for pid in self._pids("")}

    def rank(self, number: int) -> int:
        """The process of this rank that torchrun has started."""
        own = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        (pid,) = (
            pid for pid in self._pids(f"RANK={number}") if str(pid) in own
        )  # not those that it has started itself
        return pid

    def _pids(self, variable: str) -> list[int]:
        """Its living processes with a variable in their environment."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                variables = (folder / "environ").read_bytes().split(b"\0")
            except OSError:  # it has just ended
                continue
            if self.mark.encode() in variables and variable.encode() in (b"", *variables):
                found.append(int(folder.name))
        return found


def finished(*words: str) -> str:
    """The standard output of a command that ends well."""
    status, out, err = Command(*words).ends()
    assert status == 0, err[-2000:]
    return out


def torchrun(processes: int, *options: str) -> list[str]:
    """The words that start a module in several processes."""
    return ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), *options, "-m"]


def wait_for(what: Any, seconds: float = 60) -> Any:
    """What a function returns once it is true."""
    for _ in range(int(seconds / 0.02)):
        if found := what():
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s in vain")


def checkpointed(store: Path, command: Command, epochs: int = 1) -> RunFolder:
    """The run of a store, once a command has trained and kept so many epochs of it."""

    def there() -> RunFolder | None:
        assert command.process.poll() is None, command.ends()
        return next((f for f in find(store) if (last := f.last_checkpoint()) and last[0] >= epochs), None)

    found: RunFolder = wait_for(there, 120)
    return found
