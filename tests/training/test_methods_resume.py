"""Every method resumes bit for bit, and a captured step trains as a plain one.

A part of training adds the choices of its methods to ``METHODS``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.test_capture import Recorded
from training import named
from training.config import RunConfig, with_preset
from training.data import datasets
from training.run import loop, steps, trainer
from training.run.capture import captured
from training.store.runs import RunFolder

TINY = replace(with_preset(RunConfig(), "smoke"), epochs=3, warmup=1, width=4, imbalance=10.0, augment=True)
CPU = torch.device("cpu")
DEFERRED = {"class_weights": "effective", "weights_from": 0.5}  # from the third of three epochs on

METHODS: dict[str, dict[str, Any]] = {
    "nesterov": {"nesterov": True, "drop_factor": 0.01},
    "clean statistics": {"clean_statistics": True},
    "la": {"loss": "la", "tau": 1.5},
    "la of pairs": {"loss": "la", "classifier": "ms"},
    "vs": {"loss": "vs"},
    "cdt of pairs": {"loss": "cdt", "prior": "data", "sampler": "bmls", "classifier": "ms-unordered"},
    "temperature": {"loss": "temperature"},
    "complement": {"loss": "complement"},
    "focal": {"loss": "focal", "focal_gamma": 0.5},
    "cb-focal": {"loss": "focal-ldam", "class_weights": "effective", "weight_normalisation": "batch"},
    "drw": DEFERRED,
    "drw, batch": {**DEFERRED, "class_weights": "inverse", "weight_normalisation": "batch"},
    "ldam": {"loss": "ldam", "classifier": "cosine"},
    "ldam+drw, no mixup": {"loss": "ldam", "classifier": "cosine", **DEFERRED, "alpha": 0.0, "ratio_per": "batch"},
    "remix": {"mixing": "remix"},
    "mamix": {"mixing": "mamix", "ratio_per": "sample"},
    "unimix+la": {"mixing": "unimix", "sampler": "unimix", "loss": "la", "prior": "data", "alpha": 0.8},
    "cutmix": {"mixing": "cutmix"},
    "cmo": {"mixing": "cmo", "sampler": "bilateral", "cmo_first": 1, "cmo_last": 1},
    "otmix-train": {"mixing": "otmix-train", "sampler": "bilateral", "cmo_first": 0, "cmo_last": 0, "seed": 5},
    "sbn-mix": {"sampler": "bilateral"},
    "tempered": {"sampler": "tempered", "classifier": "ms", "loss": "la"},
    "manifold": {"mixing": "manifold"},
    "drs": {"sampler": "cbs", "sampler_from": 0.5},
    "lom after random": {"sampler": "lom", "sampler_from": 0.4, "mixing": "remix"},
    "bmls+ms+cutmix": {"sampler": "bmls", "classifier": "ms-unordered", "mixing": "cutmix", "box_probability": 1.0},
    "bmls+ms+unimix": {"sampler": "bmls", "classifier": "ms-unordered", "mixing": "unimix"},
    "bmls+remix": {"sampler": "bmls", "mixing": "remix"},
    "ms+manifold": {"classifier": "ms", "mixing": "manifold"},
    "dbn": named.METHODS["DBN"],
    "dbn+bmls+ms": {"branches": "dbn", "sampler": "bmls", "classifier": "ms-unordered", "ratio_per": "sample"},
    "dbn+etf, parts": {"branches": "dbn", "classifier": "etf", "loss": "dr", "width": 8, "norm_batch": 8},
    "bbn": named.METHODS["BBN"],
    "bbn+bmls+ms": {**named.NO_MIXUP, "branches": "bbn", "sampler": "bmls", "classifier": "ms-unordered"},
}


@pytest.mark.parametrize("name", METHODS)
def test_interrupted_after_each_epoch_a_run_ends_bit_for_bit_the_same(
    name: str, digits: datasets.LongTailed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(TINY, batch=128, **METHODS[name])
    monkeypatch.setattr(loop, "epochs_measured", lambda config: ())  # half of the time, and no method changes how
    loop.run(config, digits, whole := RunFolder(tmp_path / "a", config), CPU)

    def stop(row: dict[str, Any]) -> None:
        raise RuntimeError("stop")

    folder = RunFolder(tmp_path / "b", config)
    for _ in range(config.epochs):
        with pytest.raises(RuntimeError, match="stop"):
            loop.run(config, digits, folder, CPU, on_epoch=stop)
    loop.run(config, digits, folder, CPU)
    a, b = ((f.path / "final.safetensors").read_bytes() for f in (whole, folder))
    assert a == b


@pytest.mark.parametrize("name", METHODS)
def test_captured_steps_train_bit_for_bit_like_plain_ones(
    name: str, digits: datasets.LongTailed, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(TINY, batch=200, **METHODS[name])
    plain, graphs = (trainer.Trainer(config, digits, CPU) for _ in range(2))
    graphs.steps.capture = True
    monkeypatch.setattr(steps, "captured", lambda step, state, rewind: captured(step, state, rewind, Recorded))
    rows = [(plain.train_epoch(), graphs.train_epoch()) for _ in range(3)]
    assert [first["loss"] for first, _ in rows] == [second["loss"] for _, second in rows]
    assert torch.equal(plain.steps.label_counts, graphs.steps.label_counts)
    for tensor, theirs in zip(plain.network.state_dict().values(), graphs.network.state_dict().values(), strict=True):
        assert torch.equal(tensor, theirs)
