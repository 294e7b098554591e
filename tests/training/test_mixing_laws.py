"""Mixing laws against formulas written anew: label weights, ratios, boxes, and their expectations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest

from lpm.console.errors import InvalidInput
from training.batches import laws
from training.batches.blending import blended, inside
from training.batches.boxes import mean_area, random_boxes
from training.batches.epoch import batch_sizes, draw
from training.batches.laws import Pairs, Plan, plan
from training.config import RunConfig, with_preset
from training.distributed.ranks import Ranks
from training.methods import LAWS, function
from training.model import build

TINY = replace(with_preset(RunConfig(), "smoke"), epochs=12, imbalance=10.0)
COUNTS = np.array([200, 90, 41, 18, 8])
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), COUNTS))
QUANTILES = (np.arange(200_000) + 0.5) / 200_000


def planned(epoch: int = 5, **choices: Any) -> Plan:
    config = replace(TINY, **choices)
    sampler = build.sampler(config, LABELS)
    return plan(config, epoch, Pairs(config, sampler, epoch, batch_sizes(len(LABELS), config)))


@pytest.mark.parametrize("law", LAWS)
def test_a_plan_depends_on_seed_and_epoch_alone(law: str) -> None:
    one, again, later, other = (
        planned(epoch, mixing=law, seed=seed) for epoch, seed in ((5, 3), (5, 3), (6, 3), (5, 4))
    )
    N = len(LABELS)
    for name in ("ratios", "weights", "boxes"):
        assert torch.equal(getattr(one, name), getattr(again, name))
    assert not torch.equal(one.weights, later.weights)
    assert not torch.equal(one.weights, other.weights)
    assert one.ratios.shape == one.weights.shape == (N,)
    assert one.boxes.shape == (4, N if LAWS[law].boxes else 0)
    assert one.ratios.dtype == one.weights.dtype == torch.float32
    for values in (one.ratios, one.weights):
        assert float(values.min()) >= 0
        assert float(values.max()) <= 1
    assert one.ratios.data_ptr() != one.weights.data_ptr()
    assert torch.equal(one.ratios, one.weights) == LAWS[law].labels_as_images


@pytest.mark.parametrize("choices", [{"remix_tau": 0.0}, {"remix_kappa": 1e9}])
def test_remix_without_its_rule_is_mixup(choices: dict[str, Any]) -> None:
    remix, mixup = planned(mixing="remix", **choices), planned()
    assert torch.equal(remix.weights, mixup.weights)
    assert torch.equal(remix.ratios, mixup.ratios)


def test_remix_gives_the_label_to_the_rarer_class() -> None:
    def weight(lam: float, n_a: int, n_b: int) -> float:
        if n_a / n_b >= 3 and lam < 0.5:
            return 0.0
        return 1.0 if n_a / n_b <= 1 / 3 and 1 - lam < 0.5 else lam

    cases = [(lam, a, b) for lam in (0.0, 0.2, 0.49, 0.5, 0.7, 1.0) for a in COUNTS for b in (*COUNTS, 24, 600)]
    lam, n_a, n_b = (np.array(values) for values in zip(*cases, strict=True))
    assert laws.remix_weights(lam, n_a, n_b).tolist() == [weight(*case) for case in cases]
    assert laws.remix_weights(np.array([0.3]), np.array([6]), np.array([2])).tolist() == [0.0]  # three times is enough


def test_mamix_gives_each_label_half_at_the_middle() -> None:
    """As its authors write it: x weighs the second image, and the first label's weight falls from 1 over 1/2 to 0."""
    x, n_a, n_b = (v.ravel() for v in np.meshgrid(np.linspace(0, 1, 41), [5.0, 80.0], [5.0, 16.0, 5000.0]))
    middle = n_a**-0.25 / (n_a**-0.25 + n_b**-0.25)
    expected = np.array([np.interp(x_i, (0, m, 1), (1, 0.5, 0)) for x_i, m in zip(x, middle, strict=True)])
    assert np.allclose(laws.mamix_weights(1 - x, n_a, n_b), expected, rtol=0, atol=1e-12)
    assert np.allclose(laws.mamix_weights(x, n_a, n_b, 0.0), x, rtol=0, atol=1e-12)
    assert np.allclose(laws.mamix_weights(laws.mamix_middle(n_a, n_b, -0.25), n_a, n_b), 0.5)


@pytest.mark.parametrize(("n_a", "n_b"), [(1, 1), (500, 5), (3, 1000)])
def test_unimix_is_uniform_at_alpha_one_whatever_the_counts(n_a: int, n_b: int) -> None:
    drawn = np.random.default_rng(0).random(20_000)
    ratios = laws.unimix_ratios(drawn, np.full(20_000, n_a), np.full(20_000, n_b))
    assert kstest(ratios, "uniform").pvalue > 0.01


def test_unimix_draws_one_ratio_per_pair() -> None:
    ratios = planned(mixing="unimix").ratios
    assert len(set(ratios.tolist())) > 0.99 * len(ratios)


@pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("law", ["mixup", "remix", "mamix", "unimix"])
def test_expected_label_weights_are_the_means(law: str, alpha: float) -> None:
    """The closed forms against means over the quantiles of lambda."""
    config = replace(TINY, mixing=law, alpha=alpha)
    row, drawn = LAWS[law], beta.ppf(QUANTILES, alpha, alpha)
    rule = {
        "mixup": lambda n_a, n_b: drawn,
        "remix": lambda n_a, n_b: laws.remix_weights(drawn, n_a, n_b, config.remix_kappa, config.remix_tau),
        "mamix": lambda n_a, n_b: laws.mamix_weights(drawn, n_a, n_b, config.mamix_c),
        "unimix": lambda n_a, n_b: laws.unimix_ratios(drawn, n_a, n_b),
    }[law]
    n_a, n_b = (v.ravel() for v in np.meshgrid(COUNTS, COUNTS))
    found = function(row.mean)(config, n_a, n_b, **row.chosen(config))
    expected = [rule(a, b).mean() for a, b in zip(n_a, n_b, strict=True)]
    assert np.allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("P", [7, 8, 32])
@pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
def test_the_mean_area_of_a_box_is_the_mean_over_all_boxes(alpha: float, P: int) -> None:
    class AllCentres:
        """Gives each draw of a side every centre of the rows, then of the columns."""

        def integers(self, high: int, size: tuple[int, int]) -> np.ndarray:
            return np.stack([np.resize(np.arange(high), size[1])] * 2)

    kept = np.repeat(beta.ppf(QUANTILES[::40], alpha, alpha), P)
    top, bottom, _, _ = random_boxes(kept, P, AllCentres())  # type: ignore[arg-type]
    lengths = (bottom - top).reshape(-1, P).mean(axis=1) / P
    assert mean_area(alpha, P) == pytest.approx((lengths**2).mean(), abs=2e-3)


def test_boxes_have_the_published_statistics() -> None:
    """The reference's rule at Beta(1, 1) and 32 pixels: mean area 0.299, at most 0.879, and 0.4 % without a pixel."""
    rng = np.random.default_rng(1)
    boxes = random_boxes(rng.random(200_000), 32, rng)
    top, bottom, left, right = boxes
    area = (bottom - top) * (right - left) / 32**2
    assert mean_area(1.0, 32) == pytest.approx(0.299, abs=5e-4)
    assert area.mean() == pytest.approx(mean_area(1.0, 32), abs=2e-3)
    assert area.max() == pytest.approx(0.879, abs=5e-4)
    assert (area == 0).mean() == pytest.approx(0.004, abs=5e-4)
    unclipped = (top > 0) & (bottom < 32)
    assert ((bottom - top)[unclipped] % 2 == 0).all()
    assert (boxes >= 0).all()
    assert (boxes <= 32).all()


def test_boxes_have_the_statistics_of_timm() -> None:
    mixup = pytest.importorskip("timm.data.mixup", reason="timm is not installed; it is no dependency")
    rng = np.random.default_rng(0)
    kept = rng.random(20_000)
    timm = np.array([mixup.rand_bbox((1, 3, 32, 32), lam) for lam in kept]).T
    for one, two in zip(timm, random_boxes(kept, 32, rng), strict=True):
        assert one.mean() == pytest.approx(two.mean(), abs=0.4)
        assert one.std() == pytest.approx(two.std(), abs=0.3)


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_a_label_weighs_one_minus_the_share_of_the_box_exactly(alpha: float) -> None:
    found = planned(mixing="cutmix", alpha=alpha, box_probability=1.0)
    covered = inside(found.boxes, 8, 8).double().mean(dim=(1, 2, 3))
    assert torch.equal(found.weights, (1 - covered).float())
    assert len(set(found.drawn.tolist())) > 5


def test_one_box_per_batch_in_a_share_of_the_batches() -> None:
    pasted = []
    for epoch in range(1, 200):
        found = planned(epoch, mixing="cutmix", batch=32, box_probability=0.3)
        sizes = batch_sizes(len(LABELS), replace(TINY, batch=32))
        assert len(found.drawn) == len(sizes)
        for boxes in torch.split(found.boxes, sizes, dim=1):
            assert (boxes == boxes[:, :1]).all()
            pasted.append(bool(boxes[:, 0].any()))
    # 0.3 of them, less those whose box has no pixel; five standard deviations
    seen = 0.3 * (1 - beta.cdf((2 / 8) ** 2, 1, 1))
    assert np.mean(pasted) == pytest.approx(seen, abs=5 * (seen * (1 - seen) / len(pasted)) ** 0.5)


def test_cmo_is_cutmix_but_in_its_first_and_last_epochs() -> None:
    for epoch in range(1, 13):
        cmo, cutmix = planned(epoch, mixing="cmo"), planned(epoch, mixing="cutmix")
        if 4 < epoch <= 9:  # 3 < epoch < 9 from 0, as the reference counts
            assert torch.equal(cmo.boxes, cutmix.boxes)
            assert torch.equal(cmo.weights, cutmix.weights)
        else:
            assert not cmo.boxes.any()
            assert (cmo.weights == 1).all()


def test_a_box_is_pasted_and_nothing_else() -> None:
    first, second = torch.randn(2, 5, 3, 8, 6).unbind()
    boxes = torch.tensor([[0, 3, 0, 7, 2], [8, 5, 0, 8, 6], [0, 1, 0, 5, 0], [6, 4, 0, 6, 3]])
    found = blended(first, second, torch.full((5,), 0.25), boxes)
    for n, (top, bottom, left, right) in enumerate(boxes.T.tolist()):
        expected = first[n].clone()
        expected[:, top:bottom, left:right] = second[n, :, top:bottom, left:right]
        assert torch.equal(found[n], expected)
    assert torch.equal(found[2], first[2])
    mixed = blended(first, second, torch.full((5,), 0.25), boxes[:, :0])
    assert torch.equal(mixed, 0.25 * first + 0.75 * second)


@pytest.mark.parametrize("law", ["cutmix", "remix"])
def test_balanced_label_pairs_stay_balanced_under_boxes(law: str) -> None:
    """A box covers less than half of the image, so a sampler of pairs a < b has half of its sides exchanged."""
    config = replace(TINY, sampler="bmls", mixing=law, seed=2)
    sampler, first = build.sampler(config, LABELS), np.zeros(5)
    for epoch in range(1, 60):
        drawn = draw(config, sampler, epoch).pairs.numpy()
        assert np.array_equal(np.sort(drawn, axis=1), np.sort(sampler.pairs(epoch - 1), axis=1))
        first += np.bincount(LABELS[drawn[:, 0]], minlength=5)
    expected = np.full(5, 1 / 5) if law == "cutmix" else np.arange(4, -1, -1) / 10
    deviation = (0.25 / first.sum()) ** 0.5
    assert np.abs(first / first.sum() - expected).max() < 5 * deviation


@pytest.mark.parametrize("law", ["remix", "cutmix"])
def test_processes_share_what_is_drawn(law: str) -> None:
    config = replace(TINY, mixing=law, batch=32, box_probability=1.0 if law == "cutmix" else 0.5)
    sampler = build.sampler(config, LABELS)
    whole = draw(config, sampler, 6)
    shares = [draw(config, sampler, 6, Ranks(rank, 3)) for rank in range(3)]
    order = torch.argsort(torch.cat([share.number for share in shares]))
    assert torch.equal(torch.cat([share.weights for share in shares])[order], whole.weights)
    if law == "cutmix":
        assert torch.equal(torch.cat([share.boxes for share in shares], dim=1)[:, order], whole.boxes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mixing": "cutout"}, "mixing 'cutout' is unknown; choose one of mixup, remix"),
        ({"mixing": "remix", "alpha": 0.0}, "mixing 'remix' applies only to training with mixup, alpha above 0"),
        ({"mixing": "remix", "remix_kappa": 1.0}, "remix-kappa = 1 must be above 1"),
        ({"remix_tau": 0.4}, "remix-tau applies only to mixing 'remix'"),
        ({"box_probability": 0.4}, "box-probability applies only to mixing 'cutmix', 'cmo' or 'otmix-train'"),
        ({"mixing": "cutmix", "box_probability": 0.0}, r"box-probability = 0 must lie in \(0, 1\]"),
        (
            {"mixing": "cutmix", "ratio_per": "sample"},
            "ratio-per 'sample' applies only to training with mixup, .* 'mixup'",
        ),
        ({"mixing": "remix", "classifier": "ms"}, "'remix' gives labels other weights than images; take 'fc'"),
        ({"mixing": "cutmix", "classifier": "ms"}, "shows first images alone in some batches; take 'fc', or 'cutmix'"),
        ({"mixing": "cmo", "classifier": "ms"}, "shows first images alone"),
        ({"mixing": "cmo", "epochs": 7}, "no box in the first 4 and last 3 epochs, and there are 7"),
        ({"mixing": "manifold", "norm_batch": 4}, "shows both images of a pair to the network at once"),
        ({"sampler": "bilateral", "second_power": 9.0}, "second-power = 9 must lie in -4..4"),
        ({"second_power": -1.0}, "second-power applies only to sampler 'bilateral'"),
        ({"sampler_from": 0.8}, "sampler-from applies only to samplers other than 'random'"),
        (
            {"sampler": "cbs", "sampler_from": 0.01},
            "sampler-from = 0.01 must be 0, or leave some of the 12 epochs on both",
        ),
        (
            {"sampler": "bmls", "sampler_from": 0.5, "classifier": "ms-unordered"},
            "sampler 'bmls' after random pairs draws others too",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        replace(TINY, **change)


def test_titles_say_what_is_not_usual() -> None:
    names = {
        "random+FC+Remix": {"mixing": "remix"},
        "random+FC+Remix(remix-tau=0.4)": {"mixing": "remix", "remix_tau": 0.4},
        "bilateral+FC+CMO": {"mixing": "cmo", "sampler": "bilateral"},
        "bilateral(second-power=-1)+FC": {"sampler": "bilateral", "second_power": -1.0},
        "UniMix+FC+LA+UniMix": {"sampler": "unimix", "mixing": "unimix", "loss": "la", "alpha": 0.8},
        "BMLS+MS+UniMix": {"sampler": "bmls", "classifier": "ms-unordered", "mixing": "unimix"},
        "DRS+FC": {"sampler": "cbs", "sampler_from": 0.8},
        "DRS(sampler-from=0.5)+FC": {"sampler": "cbs", "sampler_from": 0.5},
        "LOM-deferred+FC": {"sampler": "lom", "sampler_from": 0.8},
        "random+FC+manifold": {"mixing": "manifold"},
    }
    assert {replace(TINY, **choices).method: choices for choices in names.values()} == names
