"""The paper's tables as runs: which methods, data sets and imbalance factors each of them has.

At preset ``paper`` each cell of a table is 5 seeds of 200 epochs. Preset ``quick`` is 30 epochs of ResNet-8, about five
minutes per run on two CPU cores. It shows the order of methods only; its numbers do not compare with the paper's. The
large data sets are 3 seeds of ResNet-50 at 224 pixels on several GPUs, by the recipes of :mod:`training.catalogue`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from lpm.console.errors import InvalidInput
from training.choices.mixing import DEFERRED
from training.config import RunConfig, with_preset
from training.published import TABLE_2, Recipe, Row, ran

RE_WEIGHTED: dict[str, Any] = {"class_weights": "effective"}
RE_WEIGHTED_LATE: dict[str, Any] = {"class_weights": "effective", "weights_from": 0.8}
"""Choices of class weights by the effective number of images: from the start (CB-RW), or from 4/5 of the epochs on (DRW)."""

NO_MIXUP: dict[str, Any] = {"alpha": 0.0, "ratio_per": "batch"}
"""Choices of training without mixup, under any recipe."""

METHODS: dict[str, dict[str, Any]] = {
    "random+FC": {"sampler": "random", "classifier": "fc"},
    "CBS+FC": {"sampler": "cbs", "classifier": "fc"},
    "CAS+FC": {"sampler": "cas", "classifier": "fc"},
    "BMLS+FC": {"sampler": "bmls", "classifier": "fc"},
    "random+MS": {"sampler": "random", "classifier": "ms"},
    "BMLS+MS": {"sampler": "bmls", "classifier": "ms-unordered"},
    "BMLS-all+MS": {"sampler": "bmls-all", "classifier": "ms"},
    "random+ETF+DR": {"sampler": "random", "classifier": "etf", "loss": "dr"},
    "CBS+ETF+DR": {"sampler": "cbs", "classifier": "etf", "loss": "dr"},
    "CAS+ETF+DR": {"sampler": "cas", "classifier": "etf", "loss": "dr"},
    "BMLS+ETF+DR": {"sampler": "bmls", "classifier": "etf", "loss": "dr"},
    "BMLS+MS-WETF+CE": {"sampler": "bmls", "classifier": "ms-wetf-unordered"},
    "random+FC+LA": {"sampler": "random", "classifier": "fc", "loss": "la"},
    "random+FC+CW": {"sampler": "random", "classifier": "fc", "loss": "cw"},
    "random+FC+Remix": {"sampler": "random", "classifier": "fc", "mixing": "remix"},
    "random+FC+MAMix": {"sampler": "random", "classifier": "fc", "mixing": "mamix"},
    "random+FC+CutMix": {"sampler": "random", "classifier": "fc", "mixing": "cutmix"},
    "random+FC+manifold": {"sampler": "random", "classifier": "fc", "mixing": "manifold"},
    "UniMix+FC+LA(prior=data)+UniMix": {
        **{"sampler": "unimix", "classifier": "fc", "loss": "la", "prior": "data"},
        **{"mixing": "unimix", "alpha": 0.8},
    },
    "bilateral+FC": {"sampler": "bilateral", "classifier": "fc"},
    "bilateral+FC+CMO": {"sampler": "bilateral", "classifier": "fc", "mixing": "cmo"},
    "DBN": {"sampler": "bilateral", "classifier": "fc", "loss": "complement", "branches": "dbn"},
    "BBN": {"sampler": "bilateral", "classifier": "fc", "second_power": -1.0, "branches": "bbn", **NO_MIXUP},
    "DRS+FC": {"sampler": "cbs", "classifier": "fc", "sampler_from": DEFERRED},
    "CAS-deferred+FC": {"sampler": "cas", "classifier": "fc", "sampler_from": DEFERRED},
    "CAS-deferred+FC, no mixup": {"sampler": "cas", "classifier": "fc", "sampler_from": DEFERRED, **NO_MIXUP},
    "LOM-deferred+FC": {"sampler": "lom", "classifier": "fc", "sampler_from": DEFERRED},
    "random+MS+LA": {"sampler": "random", "classifier": "ms", "loss": "la"},
    "random+FC+VS": {"sampler": "random", "classifier": "fc", "loss": "vs"},
    "random+FC+CDT": {"sampler": "random", "classifier": "fc", "loss": "cdt"},
    "random+FC+T": {"sampler": "random", "classifier": "fc", "loss": "temperature"},
    "random+FC+Focal": {"sampler": "random", "classifier": "fc", "loss": "focal"},
    "random+FC+CL": {"sampler": "random", "classifier": "fc", "loss": "complement"},
    "random+FC+CB-RW": {"sampler": "random", "classifier": "fc", **RE_WEIGHTED},
    "random+FC+DRW": {"sampler": "random", "classifier": "fc", **RE_WEIGHTED_LATE},
    "random+cosine+LDAM+DRW": {"sampler": "random", "classifier": "cosine", "loss": "ldam", **RE_WEIGHTED_LATE},
    "random+FC+1/n": {"sampler": "random", "classifier": "fc", "class_weights": "inverse"},
    "CAS+FC+DRW": {"sampler": "cas", "classifier": "fc", **RE_WEIGHTED_LATE},
    "BMLS+FC+DRW": {"sampler": "bmls", "classifier": "fc", **RE_WEIGHTED_LATE},
    "LOM+FC": {"sampler": "lom", "classifier": "fc"},
    "random+FC, no mixup": {"sampler": "random", "classifier": "fc", **NO_MIXUP},
    "CBS+FC, no mixup": {"sampler": "cbs", "classifier": "fc", **NO_MIXUP},
    "CAS+FC, no mixup": {"sampler": "cas", "classifier": "fc", **NO_MIXUP},
    "random+FC+CB-RW, no mixup": {"sampler": "random", "classifier": "fc", **RE_WEIGHTED, **NO_MIXUP},
    "random+FC+DRW, no mixup": {"sampler": "random", "classifier": "fc", **RE_WEIGHTED_LATE, **NO_MIXUP},
    "random+FC+Focal, no mixup": {"sampler": "random", "classifier": "fc", "loss": "focal", **NO_MIXUP},
    "random+FC+Focal-LDAM+CB-RW/batch, no mixup": {
        **{"sampler": "random", "classifier": "fc", "loss": "focal-ldam"},
        **{**RE_WEIGHTED, "weight_normalisation": "batch", **NO_MIXUP},
    },
    "random+cosine+LDAM, no mixup": {"sampler": "random", "classifier": "cosine", "loss": "ldam", **NO_MIXUP},
    "random+cosine+LDAM+DRW, no mixup": {
        **{"sampler": "random", "classifier": "cosine", "loss": "ldam"},
        **RE_WEIGHTED_LATE,
        **NO_MIXUP,
    },
    "CAS+FC+DRW, no mixup": {"sampler": "cas", "classifier": "fc", **RE_WEIGHTED_LATE, **NO_MIXUP},
    "LOM+FC+DRW": {"sampler": "lom", "classifier": "fc", **RE_WEIGHTED_LATE},
}
"""The methods of the tables, BMLS-all+MS, losses, mixing laws, and training without mixup: by name the choices that make each.

BMLS draws label pairs a < b (§4.2), so MS has these pairs as its classes there. Two classes have only one such pair;
for them BMLS-all+MS draws all K^2.
"""

COSTLY: dict[str, Any] = {
    "branches": ("dbn", "bbn"),
    "mixing": ("manifold", "otmix-train"),
    "stage": ("crt", "lws", "mislas"),
}
"""Choices with which a step has more than one pass through the network, or a run needs another run before it."""

GROUPS = {
    "cheap": tuple(
        method
        for method, choices in METHODS.items()
        if not any(choices.get(name) in words for name, words in COSTLY.items())
    ),
    "all": tuple(METHODS),
}
"""Groups of methods that are compared with one word: those of one stage at about the cost of plain training, and all."""

BOTH, FACTORS = ("cifar10-lt", "cifar100-lt"), (200, 100, 50, 10)
FC = ("random+FC", "CBS+FC", "CAS+FC", "BMLS+FC")
ETF = ("random+ETF+DR", "CBS+ETF+DR", "CAS+ETF+DR", "BMLS+ETF+DR", "BMLS+MS-WETF+CE")


@dataclass(frozen=True)
class Table:
    """A table of the paper.

    Attributes:
        rows: its rows, and our method for each.
        datasets: names of data sets.
        factors: imbalance factors; 0 for the class counts that the data set has already.
        splits: whether it has the many, medium and few classes beside all.
        seeds: runs per cell.
    """

    rows: tuple[Row, ...]
    datasets: tuple[str, ...] = BOTH
    factors: tuple[int, ...] = FACTORS
    splits: bool = False
    seeds: int = 5

    @property
    def methods(self) -> tuple[str, ...]:
        """Our methods, keys of :data:`METHODS`, each once."""
        return tuple(dict.fromkeys(row.method for row in self.rows if row.method))


LARGE_METHODS = (*FC, "BMLS+MS")

TABLES: dict[int, Table] = {
    1: Table(ran("BMLS+FC", "BMLS+MS"), factors=(200, 100), splits=True),
    2: Table(TABLE_2),
    3: Table(ran(*LARGE_METHODS), ("places-lt", "places-lt-ft", "imagenet-lt", "inaturalist2018"), (0,), seeds=3),
    4: Table(ran("random+FC", "random+MS", "BMLS+FC", "BMLS+MS")),
    5: Table(ran(*ETF)),
    8: Table(ran(*FC, "BMLS+MS"), splits=True),
    9: Table(ran(*LARGE_METHODS), ("places-lt", "places-lt-ft"), (0,), splits=True, seeds=3),
    10: Table(ran(*LARGE_METHODS), ("imagenet-lt", "inaturalist2018"), (0,), splits=True, seeds=3),
    11: Table(ran("random+FC", "random+MS", "BMLS+FC", "BMLS+MS"), splits=True),
    12: Table(ran(*ETF), ("cifar10-lt",), splits=True),
    13: Table(ran(*ETF), ("cifar100-lt",), splits=True),
}
"""By number in the paper, the tables that a run store can fill; 3, 9 and 10 are on image files."""


def config(
    method: str, dataset: str, imbalance: float, preset: str, seed: int = 0, own: Recipe | None = None
) -> RunConfig:
    """Build the run of a table's cell.

    Args:
        method: key of :data:`METHODS`.
        dataset: name of the data set.
        imbalance: imbalance factor; 0 keeps RunConfig's default, which image files do not use.
        preset: name of the recipe.
        seed: seed of the run.
        own: changes of the recipe, which give the preset's name a ``+``.

    Returns:
        The run.

    Raises:
        InvalidInput: if the method is unknown, or the data set has no such preset.
    """
    if method not in METHODS:
        raise InvalidInput(f"method {method!r} is unknown; choose one of {', '.join(METHODS)}")
    recipe = with_preset(RunConfig(dataset=dataset), preset)
    factor: dict[str, Any] = {"imbalance": float(imbalance)} if imbalance else {}
    run = replace(recipe, seed=seed, **factor, **METHODS[method])
    if own is None:
        return run
    return replace(run, preset=f"{preset}+", epochs=round(own.longer * run.epochs), **own.choices)
