"""Several processes train one run, started as a user starts them: the same pairs, the same losses, and a death is no loss."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.hosts import ADDRESSES, two_hosts
from lpm.console.errors import InvalidInput
from tests.started import Command, Forked, checkpointed, together, torchrun, wait_for
from training import table
from training.batches.epoch import batch_sizes, draw
from training.config import RunConfig
from training.data import datasets
from training.distributed.ranks import Ranks, joined
from training.model import build
from training.store.locks import Busy
from training.store.runs import RunFolder, find

RUN = ["--device", "cpu", "--quiet", "--preset", "smoke", "--epochs", "2", "--lr", "0.01", "--precision", "fp32",
       "--augment", "--width", "4"]  # fmt: skip


def command(processes: int, store: Path, *more: str) -> list[str]:
    """The words that train a run."""
    return [*(torchrun(processes) if processes > 1 else []), "training.train", *RUN, "--store", str(store), *more]


def trained(processes: int, store: Path, *more: str) -> RunFolder:
    """A run that some processes have trained, without torchrun."""
    words = command(1, store, *more)
    for ended in together(processes, *words) if processes > 1 else [Forked(*words).ends()]:
        assert ended.status == 0, ended.err
    (folder,) = find(store)
    return folder


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("sampler", ["random", "cbs", "cas", "lom", "bmls", "bmls-all", "coverage"])
def test_all_processes_together_draw_the_epoch_of_one(sampler: str, world: int, digits: datasets.LongTailed) -> None:
    config = RunConfig(imbalance=10, sampler=sampler, batch=32, preset="smoke")
    sizes = batch_sizes(len(digits.train.labels), config)
    for epoch in (1, 2, 7):
        whole = draw(config, build.sampler(config, digits.train.labels), epoch)
        shares = [
            draw(config, build.sampler(config, digits.train.labels), epoch, Ranks(r, world)) for r in range(world)
        ]
        order = torch.cat([share.number for share in shares]).argsort()
        for name in ("number", "pairs", "ratios"):
            together = torch.cat([getattr(share, name) for share in shares])[order]
            assert torch.equal(together, getattr(whole, name))
        for name in ("crops", "flips"):
            together = torch.cat([getattr(share, name) for share in shares], dim=-1)[..., order]
            assert torch.equal(together, getattr(whole, name))
        shard_sizes = [Ranks(r, world).shard_sizes(sizes) for r in range(world)]
        assert np.sum(shard_sizes, axis=0).tolist() == sizes  # step by step, the batch of one process
        for r, share in enumerate(shares):
            batch = np.repeat(np.arange(len(sizes)), shard_sizes[r])
            assert np.array_equal(np.searchsorted(np.cumsum(sizes), share.number.numpy(), side="right"), batch)


@pytest.mark.parametrize("world", range(1, 10))
def test_each_batch_is_shared_out_whole(world: int) -> None:
    for last in range(1, 9):
        sizes, processes = [8, 8, last], [Ranks(rank, world) for rank in range(world)]
        shards = [ranks.epoch_shard(sizes) for ranks in processes]
        assert torch.equal(torch.cat(shards).sort().values, torch.arange(16 + last))
        for ranks, shard in zip(processes, shards, strict=True):
            batch = np.searchsorted([8, 16], shard.numpy(), side="right")
            assert np.bincount(batch, minlength=3).tolist() == ranks.shard_sizes(sizes)


def test_balanced_label_pairs_stay_balanced_over_all_processes(digits: datasets.LongTailed) -> None:
    config = RunConfig(imbalance=10, sampler="bmls", batch=32, preset="smoke")
    counts = np.zeros((10, 10), dtype=np.int64)
    for epoch in (1, 2, 3):
        for r in range(3):
            pairs = draw(config, build.sampler(config, digits.train.labels), epoch, Ranks(r, 3)).pairs.numpy()
            np.add.at(counts, tuple(digits.train.labels[pairs].T), 1)
        upper = counts[np.triu_indices(10, 1)]
        assert upper.max() - upper.min() <= 1
        assert counts.sum() == upper.sum()


@pytest.mark.parametrize(
    ("world", "options"),
    [
        (2, ("--sampler", "bmls", "--classifier", "ms-unordered", "--batch", "96")),
        # A BatchNorm on features; 486 pairs in batches of 97 leave one pair over, so the last batch is 98.
        (3, ("--sampler", "cas", "--classifier", "etf", "--loss", "dr", "--batch", "97")),
        # The last batch has two pairs: the third and the fourth process have none.
        (4, ("--sampler", "random", "--classifier", "fc", "--batch", "121")),
        # BatchNorms of 8 pairs each, six per process; the remaining six pairs join the last batch.
        (2, ("--sampler", "bmls", "--classifier", "etf", "--batch", "96", "--norm-batch", "8")),
        # Two forwards per step: networks with two branches.
        (2, ("--branches", "dbn", "--batch", "96")),
        (3, ("--branches", "bbn", "--alpha", "0", "--ratio-per", "batch", "--batch", "121")),
        # Penalties: the mean classifier input is that of the whole batch, though one process has no share of the last one.
        (3, ("--batch", "121", "--feature-decay", "0.2", "--feature-decay-centred", "--classifier-decay", "0.1")),
        # Boxes, and features that are mixed: a process may have no pair to mix.
        (3, ("--sampler", "bilateral", "--mixing", "cutmix", "--batch", "121")),
        (3, ("--mixing", "manifold", "--batch", "121")),
        # A batch is divided by the weights of all its processes.
        (3, ("--batch", "121", "--class-weights", "effective", "--loss", "focal")),
    ],
)
def test_processes_have_the_loss_curve_of_one(world: int, options: tuple[str, ...], tmp_path: Path) -> None:
    one, several = trained(1, tmp_path / "1", *options), trained(world, tmp_path / "w", *options)
    assert several.path.name == one.path.name
    assert several.result().processes == world
    for a, b in zip(one.rows(), several.rows(), strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=2e-4)
        assert b["test_all"] == pytest.approx(a["test_all"], abs=1.0)
    final, final_of_several = one.final(), several.final()
    assert final.keys() == final_of_several.keys()
    assert np.array_equal(final["pair_counts"], final_of_several["pair_counts"])
    for name in final:
        assert np.allclose(final[name], final_of_several[name], rtol=0.05, atol=0.02), name


def test_a_process_without_a_pair_does_no_harm_in_bfloat16(tmp_path: Path) -> None:
    options = ("--classifier", "etf", "--batch", "121", "--precision", "bf16")  # the last batch has two pairs
    one, four = trained(1, tmp_path / "1", *options), trained(4, tmp_path / "4", *options)
    # Training magnifies rounding to eight bits in another order: half a per cent was seen.
    assert [row["loss"] for row in four.rows()] == pytest.approx([row["loss"] for row in one.rows()], rel=0.02)


def test_when_the_first_process_is_killed_the_same_command_goes_on(tmp_path: Path) -> None:
    more = ("--epochs", "8", "--sampler", "bmls", "--batch", "120")
    whole = trained(2, tmp_path / "whole", *more)
    stopped = Command(*command(2, tmp_path / "killed", *more))
    first = stopped.rank(0)  # it holds the run's lock and writes its files
    folder = checkpointed(tmp_path / "killed", stopped)
    os.kill(first, signal.SIGKILL)
    assert stopped.ends()[0] != 0
    assert not folder.done
    before = folder.last_checkpoint()
    assert before is not None
    resumed = trained(2, tmp_path / "killed", *more)
    assert resumed.result().per_class == whole.result().per_class
    assert [row["loss"] for row in resumed.rows()] == [row["loss"] for row in whole.rows()]
    assert [row["train_seconds"] for row in resumed.rows()][: before[0]] == [r["train_seconds"] for r in before[2]]


@pytest.mark.heavy
def test_torchrun_restarts_a_run_by_itself(tmp_path: Path) -> None:
    more = ("--epochs", "24", "--sampler", "bmls")
    whole = trained(2, tmp_path / "whole", *more)
    words = [*torchrun(2, "--max-restarts", "2"), *command(1, tmp_path / "killed", *more)]
    restarted = Command(*words, TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")
    for restart, (rank, epochs) in enumerate(((0, 2), (1, 8))):
        victim = restarted.rank(rank, restart)
        folder = checkpointed(tmp_path / "killed", restarted, epochs)
        os.kill(victim, signal.SIGKILL)
    status, _, err = restarted.ends()
    assert status == 0, err
    assert [row["loss"] for row in folder.rows()] == [row["loss"] for row in whole.rows()]
    assert (folder.path / "final.safetensors").read_bytes() == (whole.path / "final.safetensors").read_bytes()


@pytest.mark.heavy
def test_when_torchrun_itself_is_killed_its_processes_let_go_of_the_run(tmp_path: Path) -> None:
    running = Command(*command(2, tmp_path, "--epochs", "100000"))
    folder = checkpointed(tmp_path, running)
    running.process.kill()

    def free() -> bool:
        try:
            with folder.lock():
                return True
        except Busy:
            return False

    wait_for(free)
    assert folder.last_checkpoint()


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    """Two hosts joined by a cable."""
    with ExitStack() as made:
        try:
            names = made.enter_context(two_hosts())
        except InvalidInput as error:
            pytest.skip(str(error))
        yield names


@pytest.mark.heavy
def test_two_hosts_train_a_run_and_take_it_up_when_a_process_dies(hosts: tuple[str, str], tmp_path: Path) -> None:
    more = ("--epochs", "16", "--sampler", "bmls")
    whole = trained(2, tmp_path / "whole", *more)
    commands = []
    for number, host in enumerate(hosts, 1):
        place = ["--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "2", "--local-addr", ADDRESSES[number - 1]]
        place += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{ADDRESSES[0]}:29500", "--rdzv-id", "run"]
        place += ["--rdzv-conf", f"is_host={int(number == 1)}", "-m"]  # not told by the host's name, which both share
        words = ["torch.distributed.run", *place, *command(1, tmp_path / host, *more)]
        commands.append(
            Command(*words, host=host, GLOO_SOCKET_IFNAME=f"cable{number}", TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")
        )
    victim = commands[1].rank(1)
    folder = checkpointed(tmp_path / hosts[0], commands[0], 4)
    os.kill(victim, signal.SIGKILL)
    for both in commands:
        status, _, err = both.ends()
        assert status == 0, err
    assert not (tmp_path / hosts[1]).exists()  # the first process alone needs the store
    assert [row["loss"] for row in folder.rows()] == [row["loss"] for row in whole.rows()]
    assert (folder.path / "final.safetensors").read_bytes() == (whole.path / "final.safetensors").read_bytes()


def test_restarts_that_would_hang_are_refused(tmp_path: Path) -> None:
    for process in together(2, *command(1, tmp_path / "s"), TORCHELASTIC_MAX_RESTARTS="1"):
        assert process.status == 2
        assert "error: --max-restarts needs TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1" in process.err
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--jobs", "2"), "drop --jobs and --engine"),
        (("--engine", "ray"), "drop --jobs and --engine"),
        (("--dataset", "cifar10-lt", "--preset", "quick"), "needs --data-root"),
        (("--batch", "2"), "3 processes cannot share batches of 2"),
        (
            ("--mixing", "otmix-train", "--cmo-first", "0", "--cmo-last", "0"),
            "matches the images of a whole batch, which 3 processes would share",
        ),
    ],
)
def test_bad_use_is_one_line_of_each_process(options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    ended = together(3, *command(1, tmp_path / "s", *options))
    assert [process.status for process in ended] == [2, 2, 2]
    lines = [process.err for process in ended]
    assert all(message in line and line.count("\n") == 1 for line in lines)
    assert len(set(lines)) == 3  # each names its process
    assert not (tmp_path / "s").exists()


def test_processes_with_other_data_do_not_train_together() -> None:
    for process in together(2, "tests.training.disagreeing"):
        assert process.status == 2
        assert process.out == "agreed\n"
        assert "process 1 has other data or weights than process 0" in process.err


def test_a_table_is_not_for_several_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, word in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "here"}.items():
        monkeypatch.setenv(name, word)
    with pytest.raises(InvalidInput, match="torchrun trains one run with all processes"):
        table.main(["8", "--store", str(tmp_path)])
    monkeypatch.delenv("MASTER_ADDR")  # another launcher's variables are none of torchrun's
    with joined("cpu") as ranks:
        assert ranks == Ranks()


def test_a_run_that_is_being_trained_stops_all_processes(tmp_path: Path) -> None:
    folder = trained(1, tmp_path)
    (folder.path / "metrics.json").unlink()
    with folder.lock():
        ended = together(2, *command(1, tmp_path))
    for process in ended:
        assert process.status == 2
        assert f"being trained by process {os.getpid()} on {socket.gethostname()}" in process.err


def test_a_finished_run_is_not_run_again_and_warns_of_nothing(tmp_path: Path) -> None:
    before: dict[str, Any] = json.loads((trained(2, tmp_path).path / "metrics.json").read_text())
    assert before["processes"] == 2
    status, out, err = Command(*command(2, tmp_path)).ends()
    assert (status, out) == (0, "")
    assert "Warning" not in err  # torchrun may have something to say of a host
    (folder,) = find(tmp_path)
    assert json.loads((folder.path / "metrics.json").read_text()) == before
