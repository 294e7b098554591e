"""Commands as a user starts them: in processes of their own, waited for, and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

from training.store.runs import RunFolder, find

ROOT = Path(__file__).parent.parent


class Command:
    """``python -m`` and these words, in a session of its own, one thread a process. What a test leaves running, conftest ends.

    host: the network namespace that it sees, if another than this one.
    """

    started: ClassVar[list[Command]] = []

    def __init__(self, *words: str, host: str = "", **environment: str) -> None:
        self.mark = f"COMMAND_OF_A_TEST={uuid4().hex}"
        name, _, value = self.mark.partition("=")
        there = ["ip", "netns", "exec", host] if host else []
        self.process = subprocess.Popen(
            [*there, sys.executable, "-m", *words], cwd=ROOT, start_new_session=True, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", name: value, **environment},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.started.append(self)

    def ends(self) -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        try:
            out, err = self.process.communicate(timeout=240)
        except BaseException:
            self.kill()
            raise
        return self.process.returncode, out, err

    def kill(self) -> None:
        """Kill it and its children at any depth: those of torchrun have sessions of their own."""
        while pids := self._pids():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.poll()  # else it stays in the list, dead and unburied
            time.sleep(0.02)
        self.process.communicate(timeout=10)

    def alive(self) -> set[str]:
        """Names of its processes and their children, at any depth, that still live."""
        found = set()
        for pid in self._pids():
            with suppress(OSError):  # it has just ended
                found.add(Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode())
        return found

    def rank(self, number: int, restart: int = 0) -> int:
        """The process of this rank once torchrun has started it, for the first time or again."""

        def there() -> int:
            own = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            pids = self._pids(f"RANK={number}", f"TORCHELASTIC_RESTART_COUNT={restart}")
            return next((pid for pid in pids if str(pid) in own), 0)  # not those that it has started itself

        found: int = wait_for(there)
        return found

    def _pids(self, *variables: str) -> list[int]:
        """Its living processes with these variables in their environment."""
        wanted = {self.mark.encode(), *map(str.encode, variables)}
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has just ended
                if wanted <= set((folder / "environ").read_bytes().split(b"\0")):
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
