"""Commands in processes of their own, as a user starts them or forked where torch is loaded: waited for, and killed.

A new ``python -m training.train`` takes seconds to load torch before it does anything. Tests that need a process but not a fresh
interpreter take :class:`Forked` or :func:`together`, which need none of that time.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol
from uuid import uuid4

from lpm.console import cli
from training.store.runs import RunFolder, find

ROOT = Path(__file__).parent.parent
HANG = 600
"""Seconds after which a process is said to hang. Nothing else is measured in seconds: a machine may be busy."""

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["training.train", "training.jobs.train_all", "training.jobs.local", "sklearn.datasets", "torch._dynamo"]
)
"""The process that they are forked from, one for each of pytest's workers, loads these: torch's optimisers need the last one."""


CELLS = {8: 2, 1: 2}
"""Mixed images per label pair and bin of ratios that a run of a test is measured on, forked or not: enough for a variance."""


class Ended(NamedTuple):
    """What a command left.

    Attributes:
        status: its exit status; of a killed one, minus the signal.
        out: its standard output.
        err: its standard error.
    """

    status: int
    out: str
    err: str


class Running(Protocol):
    """A command in a process."""

    def running(self) -> bool:
        """Whether it has not ended."""

    def ends(self) -> Ended:
        """What it leaves; waits for it."""


class Command:
    """``python -m`` and some words, in a session of its own, one thread per process. What a test leaves running, conftest ends.

    Args:
        words: the module and its arguments.
        host: the network namespace that it sees, if another than this one.
        environment: variables beside those of this process.
    """

    started: ClassVar[list[Command]] = []

    def __init__(self, *words: str, host: str = "", **environment: str) -> None:
        self.mark = f"COMMAND_OF_A_TEST={uuid4().hex}"
        name, _, value = self.mark.partition("=")
        namespace = ["ip", "netns", "exec", host] if host else []
        self.process = subprocess.Popen(
            [*namespace, sys.executable, "-m", *words], cwd=ROOT, start_new_session=True, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", name: value, **environment},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.started.append(self)

    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def ends(self) -> Ended:
        """What it leaves; waits for it."""
        try:
            out, err = self.process.communicate(timeout=HANG)
        except BaseException:
            self.kill()
            raise
        self.started.remove(self)
        return Ended(self.process.returncode, out, err)

    def says(self, pattern: str) -> None:
        """Wait until its standard error, from here on, has a match of a pattern."""
        assert self.process.stderr is not None
        text = ""
        while not re.search(pattern, text):
            some = os.read(self.process.stderr.fileno(), 1 << 16)
            assert some, text
            text += some.decode(errors="replace")

    def kill(self) -> None:
        """Kill it and its children at any depth: those of torchrun have sessions of their own."""
        while pids := self._pids():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.poll()  # else it stays in the list, dead and unburied
            time.sleep(0.02)
        self.process.communicate(timeout=HANG)
        self.started.remove(self)

    def alive(self) -> set[str]:
        """Names of its processes and their children, at any depth, that still live."""
        names = set()
        for pid in self._pids():
            with suppress(OSError):  # it has just ended
                names.add(Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode())
        return names

    def rank(self, number: int, restart: int = 0) -> int:
        """The process of this rank once torchrun has started it, for the first time or again."""

        def started() -> int:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            pids = self._pids(f"RANK={number}", f"TORCHELASTIC_RESTART_COUNT={restart}")
            return next((pid for pid in pids if str(pid) in children), 0)  # not those that it has started itself

        pid: int = wait_for(started)
        return pid

    def _pids(self, *variables: str) -> list[int]:
        """Its living processes with these variables in their environment."""
        wanted = {self.mark.encode(), *map(str.encode, variables)}
        pids = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has just ended
                if wanted <= set((folder / "environ").read_bytes().split(b"\0")):
                    pids.append(int(folder.name))
        return pids


class Forked:
    """The ``main`` of a module with some words, in a process forked from one that has torch loaded. Conftest ends it, too.

    Args:
        words: the module and its arguments.
        environment: variables beside those of this process.
    """

    started: ClassVar[list[Forked]] = []

    def __init__(self, *words: str, **environment: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="forked-")
        self._files = [Path(self._folder.name, name) for name in ("out", "err")]
        self.process = FORKS.Process(target=_main, args=(words, environment, self._files), daemon=False)
        self.process.start()
        self.started.append(self)

    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.exitcode is None

    def ends(self) -> Ended:
        """What it leaves; waits for it."""
        self.process.join(HANG)
        status = self.process.exitcode
        out, err = (file.read_text() if file.exists() else "" for file in self._files)
        self.kill()
        assert status is not None, f"it hangs; it said: {err[-2000:]}"
        return Ended(status, out, err)

    def kill(self) -> None:
        """Kill it, if it still runs, and drop its files."""
        self.process.kill()
        self.process.join()
        self._folder.cleanup()
        self.started.remove(self)


def _main(words: tuple[str, ...], environment: dict[str, str], files: list[Path]) -> None:
    os.environ.update(environment)
    sys.path[:0] = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    multiprocessing.set_start_method(None, force=True)  # what it starts itself, it starts as any other process does
    for number, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    os.fsync = lambda file: None  # as in conftest
    importlib.import_module("training.run.measurement").CELLS = CELLS
    main = importlib.import_module(words[0]).main
    sys.exit(cli.run(lambda: main(list(words[1:]))))


def together(world: int, *words: str, **environment: str) -> list[Ended]:
    """What the processes leave that train one run together, rank by rank.

    They get the variables that torchrun sets, and no torchrun: what torchrun itself does, as ending all when one has died, is
    for tests that start :func:`torchrun`.

    Args:
        world: number of processes.
        words: the module and its arguments, the same for all.
        environment: variables beside those of this process and of torchrun.
    """
    import torch.distributed as dist

    store = dist.TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)  # as torchrun's agent has one
    variables = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world),
        "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0",
        **environment,
    }  # fmt: skip
    processes = [Forked(*words, **variables, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(world)]
    return [process.ends() for process in processes]


def finished(*words: str) -> str:
    """The standard output of a command that ends well."""
    status, out, err = Command(*words).ends()
    assert status == 0, err[-2000:]
    return out


def torchrun(processes: int, *options: str) -> list[str]:
    """The words that start a module in several processes."""
    return ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), *options, "-m"]


def wait_for(condition: Callable[[], Any]) -> Any:
    """What a function returns once it is true."""
    end = time.monotonic() + HANG
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {HANG} s in vain"
        time.sleep(0.02)
    return value


def checkpointed(store: Path, command: Running, epochs: int = 1) -> RunFolder:
    """The run of a store, once a command has trained so many epochs of it and has written a checkpoint."""

    def written() -> RunFolder | None:
        assert command.running(), command.ends()
        return next((f for f in find(store) if (last := f.last_checkpoint()) and last[0] >= epochs), None)

    folder: RunFolder = wait_for(written)
    return folder
