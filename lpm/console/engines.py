"""Engines that do many tasks: processes of this machine, or Ray, here or on a cluster (extra ``cluster``).

A Ray that a command starts ends with it: no dashboard, no usage statistics, its files in a folder that is removed. Its
servers listen on every interface. A token that only this process and its children know keeps others out.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from importlib.util import find_spec
from typing import Any

from lpm.console.errors import InvalidInput, install

RETRIES = 3
"""Further attempts of Ray at a task whose worker was lost."""

LOST = "for lack of memory perhaps"
"""The likely reason for the end of a process."""

GOES_ON = "the same command goes on"
"""The remedy for the end of a process, where finished tasks are stored."""

Map = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]
"""A function like ``map``."""


def check(options: argparse.Namespace) -> None:
    """Check the options of an engine.

    Args:
        options: the parsed options, with ``engine`` and ``address``.

    Raises:
        InvalidInput: if --engine and --address do not go together, or Ray is not installed or does not answer there.
    """
    if options.address is not None and options.engine != "ray":
        raise InvalidInput(f"--address {options.address} applies only to --engine ray; give both or neither")
    if options.engine == "ray" and find_spec("ray") is None:
        raise InvalidInput(f"--engine ray needs the extra `cluster`; install it with {install('cluster')}")
    if options.address is not None:  # Ray would try for minutes
        host, _, port = options.address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise InvalidInput(
                f"--address {options.address}: {error.strerror or error}; give the address that `ray start --head` "
                "printed, or drop it for Ray here"
            ) from None


@contextlib.contextmanager
def mapping(options: argparse.Namespace, remedy: str = GOES_ON) -> Generator[Map]:
    """Start the engine of the options as a ``map``, which ends with the context.

    Args:
        options: the parsed options, with ``engine``, ``jobs`` and ``address``.
        remedy: advice where a process was killed.

    Yields:
        The map: its results are in the order of the tasks.

    Raises:
        InvalidInput: as :func:`ray`.
        ChildProcessError: if a process was killed, or Ray does not start.
    """
    if options.engine == "ray":
        with ray(options.address, options.jobs) as cluster:
            yield partial(_in_order, cluster, remedy)
    elif options.jobs > 1:
        with processes(options.jobs, remedy=remedy) as pool:
            yield pool.map
    else:
        yield map


WRITTEN = 10.0
"""Seconds within which a process has written its result."""


@contextlib.contextmanager
def processes(
    jobs: int, start: Callable[..., None] | None = None, arguments: tuple[Any, ...] = (), remedy: str = GOES_ON
) -> Generator[ProcessPoolExecutor]:
    """Start a pool that ends at once when the context is left by an error, or when this process is killed.

    Args:
        jobs: number of processes.
        start: called in every process at its start, if given.
        arguments: arguments of ``start``.
        remedy: advice where a process was killed.

    Yields:
        The pool.

    Raises:
        ChildProcessError: if a process was killed.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start, initargs=(start, *arguments))
    try:
        yield pool
    except BrokenProcessPool:
        raise ChildProcessError(f"a process was killed, {LOST}; {remedy}") from None
    except BaseException:
        _hold_results(pool)
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _hold_results(pool: ProcessPoolExecutor) -> None:
    """Keep processes from beginning to write a result, and let one that writes finish.

    One that ends in the middle of it leaves half a result, and the pool's thread then waits for the rest for ever, because this
    process itself has the pipe open. The standard library has no public name for the lock; it is not given back, because the
    processes end.
    """
    lock = getattr(getattr(pool, "_result_queue", None), "_wlock", None)
    if lock is not None:
        lock.acquire(timeout=WRITTEN)


def _start(start: Callable[..., None] | None, *arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process gets it, too, and ends the others
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if start is not None:
        start(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)  # an orphan would hold locks that the next command needs


@contextlib.contextmanager
def ray(address: str | None, workers: int) -> Generator[Any]:
    """Connect to Ray: to the cluster at an address, or to one that is started here and ends with the context.

    Args:
        address: address of a running cluster; None to start one here.
        workers: number of workers of a cluster that is started here.

    Yields:
        The module ray.

    Raises:
        InvalidInput: if the address does not belong to a cluster of ours.
        ChildProcessError: if Ray does not start.
    """
    # Errors are raised here, each in one line.
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_IGNORE_UNHANDLED_ERRORS="1")
    if address is None:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(16))  # only once: Ray keeps the first one
    import ray

    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        local = dict(
            num_cpus=workers, include_dashboard=False, _temp_dir=folder, _system_config={"task_oom_retries": RETRIES}
        )
        try:
            with _silenced() as words:  # Ray prints some errors once per second and does not raise them
                ray.init(address or "local", log_to_driver=False, logging_level="ERROR", **({} if address else local))
        except (ConnectionError, RuntimeError, ValueError) as error:
            line = str(error).splitlines()[0]
            if address is None:
                raise ChildProcessError(f"Ray could not be started: {line}") from None
            remedy = "run this on a host of a Ray cluster"
            if "Unauthenticated" in "".join(words):
                remedy = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as its hosts have them"
            raise InvalidInput(f"--address {address}: {line}; {remedy}") from None
        with contextlib.redirect_stdout(sys.stderr):  # Ray reports lost workers on standard output
            try:
                yield ray
            finally:
                with _silenced():  # Ray reports the end of busy workers as accidents
                    ray.shutdown()


def task() -> str:
    """Name the task of a worker of Ray; call it in the worker.

    Returns:
        The name, the same for every attempt at the task.
    """
    import ray

    return str(ray.get_runtime_context().get_task_id())


@contextlib.contextmanager
def _silenced() -> Generator[list[str]]:
    """Keep all output off standard error; it is in the list that is yielded, after the context."""
    standard_error, words = os.dup(2), list[str]()
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield words
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)
            file.seek(0)
            words.append(file.read().decode(errors="replace"))


def results(cluster: Any, references: Sequence[Any], *, in_order: bool = False, remedy: str = GOES_ON) -> Iterator[Any]:
    """Collect results of tasks on a cluster.

    Args:
        cluster: the module ray, connected.
        references: the tasks.
        in_order: yield in the order of the tasks, not as they end.
        remedy: advice where a worker was lost.

    Yields:
        The result of each task.

    Raises:
        ChildProcessError: if a worker was lost again and again. An exception of a task is raised as it is.
    """
    waiting = list(references)
    try:
        while waiting:
            first = waiting[0] if in_order else cluster.wait(waiting)[0][0]
            value = cluster.get(first)
            waiting.remove(first)
            yield value
    except cluster.exceptions.RayTaskError as error:
        raise error.cause from None
    except cluster.exceptions.RayError as error:
        reason = f"a worker was lost {RETRIES + 1} times ({type(error).__name__}), {LOST}; {remedy}"
        raise ChildProcessError(reason) from None


def _in_order(cluster: Any, remedy: str, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
    remote = cluster.remote(num_cpus=1, max_retries=RETRIES)(_apply)
    shared = cluster.put(function)
    yield from results(cluster, [remote.remote(shared, task) for task in tasks], in_order=True, remedy=remedy)


def _apply(function: Callable[[Any], Any], task: Any) -> Any:
    return function(task)
