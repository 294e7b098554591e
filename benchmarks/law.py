"""Train the networks that the collapse law is tried on, and write their rows: ``python -m benchmarks.law``.

docs/contribute/log.md has the predictions, which were written before the runs. Runs that the store has are not trained again.
The last line of ``--help`` is the order; ``--only NAME`` takes a part.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import class_vectors
from benchmarks.rows import as_csv, csv_file, origin
from lpm.console import cli
from lpm.console.errors import InvalidInput
from lpm.console.output import write
from training.config import RunConfig, with_preset
from training.options import Options, seeds
from training.store import collapse
from training.store.runs import RunFolder

if TYPE_CHECKING:
    from training.data.datasets import LongTailed

STEP = replace(
    with_preset(RunConfig(imbalance=10.0, tail="step"), "smoke"),
    preset="smoke+",
    weight_decay=1e-5,
)
"""Five classes of 120 digits and five of 12."""

CIFAR = replace(
    with_preset(RunConfig(dataset="cifar10-lt", imbalance=10.0, tail="step"), "quick"),
    preset="quick+",
    weight_decay=1e-5,
)
"""Five classes of 5,000 images and five of 500: the shares of the digits."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """Runs that differ in mu and seed.

    Attributes:
        name: the series' word in rows.
        choices: what makes its method, and how long it trains.
        c: the collapse number that decides it.
        grid: mu over sqrt(c); with ``absolute`` mu itself.
        first: the part of the grid that is trained first, for all series and seeds.
        absolute: whether the grid is of mu.
        ordinary: whether mu is the weight decay of all layers, and there are no penalties.
        base: the data and the recipe.
    """

    name: str
    choices: dict[str, Any]
    c: float
    grid: tuple[float, ...]
    first: tuple[float, ...]
    absolute: bool = False
    ordinary: bool = False
    base: RunConfig = STEP

    def configs(self, grid: Sequence[float] | None = None) -> Iterator[RunConfig]:
        """The runs with seed 0.

        Args:
            grid: the part of the grid that is asked for; all of it by default.

        Yields:
            Their configs, in the grid's order.
        """
        for x in self.grid if grid is None else grid:
            mu = float(f"{x if self.absolute else x * math.sqrt(self.c):.4g}")
            if self.ordinary:
                yield replace(self.base, **self.choices, weight_decay=mu)
            else:
                penalties: dict[str, Any] = {"classifier_decay": mu, "feature_decay": mu, "feature_decay_centred": True}
                yield replace(self.base, **self.choices, **penalties)


S, PI_A, PI_B, K = 2 / 3, 2 / 11, 1 / 55, 10
LONG, SHORT = {"epochs": 400, "decay_warmup": 200}, {"epochs": 200, "decay_warmup": 100}
IMAGES, FAR = {"decay_warmup": 15}, (0.6, 0.3, 1.05, 0.1, 0.8, 0.45, 0.95, 0.2, 0.25, 1.3, 0.35)
NEAR, WIDE, BALANCED = (0.6, 0.8, 0.9, 0.95, 1.05, 1.2), (0.6, 0.8, 0.9, 1.05, 1.2, 1.5), (0.5, 0.8, 0.9, 1.05, 1.2)
SERIES = (
    Series(name="FC", choices=LONG, c=S * PI_B, grid=NEAR, first=NEAR),
    Series(name="LA", choices={"loss": "la", **LONG}, c=S * PI_B, grid=NEAR, first=(0.8, 0.9, 0.95, 1.05)),
    Series(name="CW", choices={"loss": "cw", **SHORT}, c=S / (K**2 * PI_A), grid=WIDE, first=(0.6, 0.9, 1.05, 1.2)),
    Series(
        name="FC-exp",
        choices={"tail": "exp", **SHORT},
        c=S * 12 / 486,
        grid=(0.06, 0.09, 0.12, 0.15, 0.18, 0.22, 0.26),
        first=(0.09, 0.15, 0.18, 0.22),
        absolute=True,
    ),
    Series(name="MS", choices={"classifier": "ms", **SHORT}, c=S * PI_B, grid=NEAR[1:], first=(0.9, 1.05)),
    Series(name="CAS", choices={"sampler": "cas", **SHORT}, c=S / K, grid=BALANCED, first=(0.5, 0.9, 1.2)),
    Series(
        name="weight-decay",
        choices={"epochs": 100},
        c=S * PI_B,
        grid=(2e-4, 5e-3, 1e-2, 2e-2, 3e-2, 3.5e-2, 5e-2, 7e-2, 1e-1),
        first=(2e-4, 2e-2, 3.5e-2, 5e-2, 1e-1),
        absolute=True,
        ordinary=True,
    ),
    Series(name="no-mixup", choices={"alpha": 0.0, **SHORT}, c=PI_B, grid=NEAR, first=(0.9, 1.05)),
    Series(
        name="BMLS",
        choices={"sampler": "bmls", **SHORT},
        c=S / K - (1 - S) / (K * (K - 1)),
        grid=BALANCED,
        first=(0.5, 0.9, 1.2),
    ),
    Series(name="FC-cold", choices={"epochs": 200}, c=S * PI_B, grid=(0.2, 0.4, 0.6, 0.8, 1.05), first=(0.8,)),
    Series(
        name="weight-decay-lr",
        choices={"epochs": 400, "lr": 0.01},
        c=S * PI_B,
        grid=(5e-2, 1.5e-1),
        first=(),
        absolute=True,
        ordinary=True,
    ),
    Series(
        name="weight-decay-batch",
        choices={"epochs": 400, "batch": 128},
        c=S * PI_B,
        grid=(3.5e-2,),
        first=(),
        absolute=True,
        ordinary=True,
    ),
    *(
        Series(
            name=f"map-{R}",
            choices={"epochs": 100},
            c=S * rare / (5 * 120 + 5 * rare),
            grid=(2e-4, 1e-2, 2e-2, 3.5e-2, 5e-2, 1e-1),
            first=(),
            absolute=True,
            ordinary=True,
            base=replace(STEP, imbalance=float(R)),
        )
        for R, rare in ((3, 40), (30, 4), (100, 1))
    ),
    Series(name="CIFAR", choices=IMAGES, c=S * PI_B, grid=FAR, first=FAR, base=CIFAR),
    *(
        Series(
            name=f"CIFAR-{name}",
            choices={"epochs": epochs, "decay_warmup": warmup},
            c=S * PI_B,
            grid=grid,
            first=grid[:1],
            base=CIFAR,
        )
        for name, epochs, warmup, grid in (
            ("slow", 60, 45, (0.3, 0.45, 0.4, 0.6)),
            ("slower", 120, 90, (0.45,)),
            ("long", 60, 15, (0.3, 0.45)),
        )
    ),
    *(
        Series(name=f"CIFAR-{name}", choices={**choice, **IMAGES}, c=c, grid=(0.3, 0.6, 1.05), first=(0.3,), base=CIFAR)
        for name, choice, c in (
            ("LA", {"loss": "la"}, S * PI_B),
            ("MS", {"classifier": "ms"}, S * PI_B),
            ("CAS", {"sampler": "cas"}, S / K),
            ("BMLS", {"sampler": "bmls"}, S / K - (1 - S) / (K * (K - 1))),
            ("CW", {"loss": "cw"}, S / (K**2 * PI_A)),
        )
    ),
)
"""In the order of training, most valuable first."""


def row(series: Series, folder: RunFolder) -> dict[str, Any]:
    """Measure a finished run.

    Args:
        series: its series.
        folder: the run.

    Returns:
        Its row: mu, the threshold, accuracies in per cent, singular values of class vectors.
    """
    config, result = folder.config, folder.result()
    geometry, counts = folder.geometry(config.epochs), np.array(result.train_counts)
    W, half = geometry["class_vectors"], K // 2
    final = folder.final()
    mu = collapse.decay(config, W, collapse.mean_squared_length(config, geometry, final["pair_counts"], counts))
    accuracy = np.array(result.per_class)
    few = W[half:] - W.mean(axis=0)
    few = few / np.linalg.norm(few, axis=1, keepdims=True)
    spectra = {"s": W, "sA": W[:half], "sB": W[half:]}
    return {
        "series": series.name,
        "seed": config.seed,
        "mu": f"{mu:.5g}",
        "ratio": f"{mu / math.sqrt(series.c):.4f}",
        "all": f"{accuracy.mean():.2f}",
        "many": f"{accuracy[:half].mean():.2f}",
        "few": f"{accuracy[half:].mean():.2f}",
        "few_cosine": f"{float((few @ few.T)[np.triu_indices(half, 1)].mean()):.4f}",
        **{
            f"{word}{n}": f"{value:.5f}"
            for word, vectors in spectra.items()
            for n, value in enumerate(collapse.singular_values(vectors), 1)
        },
        "shared_B": f"{class_vectors.shared(W[:half], W[half:]):.4f}",
        "own_by_epoch": " ".join(f"{epoch}:{own:.3f}" for epoch, own in class_vectors.own_by_epoch(folder)),
        "resembles": " ".join(f"{k}:{cosine:.2f}" for k, cosine in class_vectors.resembles(W[:half], W[half:])),
        "squares_W": f"{float((W.astype(float) ** 2).sum()):.5g}",
        "squares_norms": f"{class_vectors.squares_of_norms(final):.5g}",
        "counts": " ".join(map(str, counts)),
        "nearest": " ".join(f"{d:.5f}" for d in class_vectors.nearest(W)),
        "per_class": " ".join(f"{a:.0f}" for a in accuracy),
        "weight_decay": f"{config.weight_decay:g}",
        "train_seconds": f"{result.train_seconds:.1f}",
        "config": config.key,
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status.

    Raises:
        InvalidInput: if a series is asked for that needs the folder of its data.
    """
    parser = cli.Parser("benchmarks.law", "networks on the digits and on CIFAR-10 that try the collapse law")
    names = tuple(series.name for series in SERIES)
    parser.add_argument("--only", type=cli.choice(*names), nargs="+", metavar="NAME", help="|".join(names))
    parser.add_argument("--seeds", type=seeds, default=[0, 1, 2], help="seeds, such as 0-2")
    parser.add_argument("--data-root", type=Path, metavar="DIR", help="folder of CIFAR-10, for its series")
    parser.add_argument("--store", type=Path, default=Path("runs"), metavar="DIR", help="folder of the run store")
    parser.add_argument("--out", type=csv_file, metavar="FILE", help="CSV of all finished runs of the plan")
    parser.add_argument("--rows-only", action="store_true", help="train nothing")
    options = parser.parse_args(arguments)
    chosen = [series for series in SERIES if series.name in (options.only or names)]
    if options.data_root is None and any(series.base.data_set.needs_root for series in chosen):
        if options.only:
            raise InvalidInput("the series of CIFAR-10 need --data-root, its folder")
        chosen = [series for series in chosen if not series.base.data_set.needs_root]
    if not options.rows_only:
        import torch

        from training.jobs.train_all import train_all

        torch.set_num_threads(1)
        for whole in (False, True):
            for seed, series in itertools.product(options.seeds, chosen):
                configs = [replace(c, seed=seed) for c in series.configs(None if whole else series.first)]
                given = Options(store=options.store, data_root=options.data_root, device="cpu", quiet=True)
                if configs:
                    train_all(configs, given, printed=False)
                print(series.name, seed, "all" if whole else "first", flush=True)
    if options.out is not None and (rows := list(_rows(chosen, options))):
        write(options.out, as_csv(rows))
    return 0


def _rows(chosen: Sequence[Series], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The rows of all finished runs. Data are loaded once for each kind of subset."""
    from benchmarks import fit
    from training.data import datasets

    loaded: dict[tuple[str, str, float], LongTailed] = {}
    for series in chosen:
        for config, seed in itertools.product(series.configs(), options.seeds):
            folder = RunFolder(options.store, replace(config, seed=seed))
            kind = config.dataset, config.tail, config.imbalance
            if not folder.done:
                continue
            if kind not in loaded:
                loaded[kind] = datasets.of(config, options.data_root, train_list=None, test_list=None)
            drawn = fit.sample(folder, loaded[kind])
            shares = fit.shares(drawn) | fit.scatter(drawn, folder.geometry(config.epochs)["class_vectors"])
            yield row(series, folder) | {name: f"{share:.4f}" for name, share in shares.items()} | origin()


if __name__ == "__main__":
    sys.exit(cli.run(main))
