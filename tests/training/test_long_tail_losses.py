"""Losses for rare classes against float64 formulas written anew, finite differences, and identities between them."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lpm.console.errors import InvalidInput
from training.model.class_weights import Weighted, effective, inverse
from training.model.complement import Complement
from training.model.cosine import Cosine
from training.model.label_losses import LDAM, CrossEntropy, Focal, FocalOfWeighted, LabelLoss
from training.model.long_tail_losses import ClassWeights, LogitAdjustment, LogitMap, Temperature, VectorScaling
from training.model.losses import mixed_cross_entropy, mixed_singleton

COUNTS = np.array([500, 130, 40, 11, 5])
K, B = len(COUNTS), 9
IMAGES = torch.from_numpy(COUNTS)
PI = COUNTS / COUNTS.sum()
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
Loss = Callable[..., torch.Tensor]


def batch(seed: int = 0, *, scale: float = 3.0, per_image: bool = True) -> Batch:
    """Logits, labels of which some pairs are equal, ratios."""
    generator = torch.Generator().manual_seed(seed)
    z = scale * torch.randn(B, K, generator=generator, dtype=torch.float64)
    a, b = (torch.randint(K, (B,), generator=generator) for _ in range(2))
    b[0] = a[0]
    return z, a, b, torch.rand(B if per_image else (), generator=generator, dtype=torch.float64)


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max())
    return np.asarray(e / e.sum())


def of_softmax(z: np.ndarray, k: int) -> float:
    return float(-np.log(softmax(z)[k]))


PHI = 0.6 * K * COUNTS / 500 + 0.4
MARGINS = 0.4 * (5 / COUNTS) ** 0.25


def ldam(z: np.ndarray, k: int, w: float) -> float:
    lowered = z.copy()
    lowered[k] -= 20 * MARGINS[k]
    return w * of_softmax(lowered, k)


def focal(z: np.ndarray, k: int, w: float, gamma: float) -> float:
    return float(w * (1 - softmax(z)[k]) ** gamma * of_softmax(z, k))


def focal_of_weighted(z: np.ndarray, k: int, w: float, gamma: float) -> float:
    u = w * of_softmax(z, k)
    return float((1 - np.exp(-u)) ** gamma * u)


ONE_LABEL: dict[str, tuple[LabelLoss, Callable[[np.ndarray, int, float], float]]] = {
    "ce": (CrossEntropy(), lambda z, k, w: w * of_softmax(z, k)),
    "la": (LogitAdjustment(IMAGES, 1.5), lambda z, k, w: w * of_softmax(z + 1.5 * np.log(PI), k)),
    "vs": (
        VectorScaling(IMAGES, 0.25, 1.25),
        lambda z, k, w: w * of_softmax((COUNTS / 500) ** 0.25 * z + 1.25 * np.log(PI), k),
    ),
    "cdt": (VectorScaling(IMAGES, 0.25, 0.0), lambda z, k, w: w * of_softmax((COUNTS / 500) ** 0.25 * z, k)),
    "temperature": (
        Temperature(IMAGES, 0.6, 7.0),
        lambda z, k, w: w * of_softmax(z / (PHI.max() / PHI) ** (1 / 7), k),
    ),
    "focal": (Focal(2.0), lambda z, k, w: focal(z, k, w, 2.0)),
    "focal 0.5": (Focal(0.5), lambda z, k, w: focal(z, k, w, 0.5)),
    "focal-ldam": (FocalOfWeighted(1.0), lambda z, k, w: focal_of_weighted(z, k, w, 1.0)),
    "ldam": (LDAM(IMAGES, 0.4, 20.0), ldam),
}
"""Each loss of two labels, and that of one label with its class weight, in NumPy."""

WEIGHTS: dict[str, tuple[torch.Tensor, np.ndarray]] = {
    "inverse": (inverse(IMAGES), 1 / COUNTS),
    "effective": (effective(IMAGES, 0.99), (1 - 0.99) / (1 - 0.99**COUNTS)),
}


def mixed(
    z: torch.Tensor, a: torch.Tensor, b: torch.Tensor, lam: torch.Tensor, loss: Callable[..., float]
) -> list[float]:
    """lambda loss(z, a) + (1 - lambda) loss(z, b) of each image, in NumPy."""
    rows = zip(z.numpy(), a.tolist(), b.tolist(), lam.expand(B).tolist(), strict=True)
    return [ratio * loss(row, k, i) + (1 - ratio) * loss(row, j, i) for i, (row, k, j, ratio) in enumerate(rows)]


@pytest.mark.parametrize("per_image", [True, False])
@pytest.mark.parametrize("name", ONE_LABEL)
def test_each_loss_is_its_formula(name: str, per_image: bool) -> None:
    loss, of_label = ONE_LABEL[name]
    z, a, b, lam = batch(per_image=per_image)
    expected = np.mean(mixed(z, a, b, lam, lambda row, k, i: of_label(row, k, 1.0)))
    assert float(loss(z, a, b, lam)) == pytest.approx(expected, rel=1e-6)  # factors and offsets are float32


@pytest.mark.parametrize("normalisation", ["weights", "batch"])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("name", ONE_LABEL)
def test_class_weights_are_their_formula(name: str, weights: str, normalisation: str) -> None:
    (loss, of_label), (chosen, w) = ONE_LABEL[name], WEIGHTS[weights]
    w = w * K / w.sum()
    assert np.allclose(chosen.numpy(), w, rtol=1e-12)
    z, a, b, lam = batch(1)
    rows = mixed(z, a, b, lam, lambda row, k, i: of_label(row, k, w[k]))
    divisor = B if normalisation == "batch" else sum(mixed(z, a, b, lam, lambda row, k, i: w[k]))
    value = Weighted(loss, chosen, normalisation=normalisation)(z, a, b, lam)
    assert float(value) == pytest.approx(sum(rows) / divisor, rel=1e-6)


def complement(z: torch.Tensor, a: torch.Tensor, b: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
    """The complement loss word for word, with the temperature."""
    p = torch.softmax(z * torch.from_numpy((PHI / PHI.max()) ** (1 / 3)).float(), dim=1)
    t = lam.expand(B)[:, None] * F.one_hot(a, K) + (1 - lam).expand(B)[:, None] * F.one_hot(b, K)
    return F.binary_cross_entropy(p, t, reduction="none").sum(dim=1).mean()


@pytest.mark.parametrize("per_image", [True, False])
def test_the_complement_loss_is_its_naive_form(per_image: bool) -> None:
    """PyTorch's binary cross-entropy of probabilities in float64, whose clamp at -100 is not met here; with gradients."""
    z, a, b, lam = batch(2, per_image=per_image)
    z.requires_grad_()
    values = Complement(IMAGES)(z, a, b, lam), complement(z, a, b, lam)
    assert torch.allclose(*values, rtol=1e-10)
    gradients = [torch.autograd.grad(value, z)[0] for value in values]
    assert torch.allclose(*gradients, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("gap", [17.0, 100.0, 1e4])
def test_the_complement_loss_stays_finite(gap: float) -> None:
    """In float32, with both labels the likeliest class, with none, and with one: where p rounds to 1 the naive form is NaN."""
    z = torch.tensor([[gap, 0, 0.5]] * 4, requires_grad=True)
    a, b = torch.tensor([0, 1, 0, 2]), torch.tensor([0, 1, 1, 2])
    rows = [Complement(torch.ones(3), eps=0.0)(z[i : i + 1], a[i : i + 1], b[i : i + 1], 0.25) for i in range(4)]
    (gradient,) = torch.autograd.grad(torch.stack(rows).sum(), z)
    assert torch.isfinite(torch.stack(rows)).all()
    assert torch.isfinite(gradient).all()
    values = [float(row.detach()) for row in rows]
    assert values[0] == pytest.approx(2 * (1 + np.exp(0.5)) * np.exp(-gap), abs=3e-7)  # 1 + 1e-7 in float32
    # log p and log(1 - p) of the others are about -gap: t = (0, 1, 0) costs gap - 0 + gap
    assert values[1] == pytest.approx(2 * gap - np.log(1 + np.exp(0.5)), rel=1e-5)
    assert gradient.abs().max() <= 3  # of K = 3 terms, each bounded by 1 in each logit


FUNCTIONS: dict[str, Loss] = {
    **{name: loss for name, (loss, _) in ONE_LABEL.items()},
    **{f"{name} by {way}": Weighted(loss, inverse(IMAGES), normalisation=way)
       for (name, (loss, _)), way in itertools.product(ONE_LABEL.items(), ("weights", "batch"))},
    "complement": Complement(IMAGES, 0.6, 7.0),
    "cw": ClassWeights(IMAGES),
    "ms": lambda *given: mixed_singleton(*given, offsets=torch.from_numpy(np.log(PI))),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_are_finite_differences(name: str) -> None:
    z, a, b, lam = batch(3)
    z.requires_grad_()
    assert torch.autograd.gradcheck(lambda logits: FUNCTIONS[name](logits, a, b, lam), (z,), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_any_batch_will_do(name: str) -> None:
    """An empty batch is 0 with gradients; half precision and autocast are summed in float32; extreme logits stay finite."""
    loss, (z, a, b, lam) = FUNCTIONS[name], batch(4)
    empty = z[:0].requires_grad_()
    value = loss(empty, a[:0], b[:0], 0.3)
    assert float(value.detach()) == 0
    assert torch.autograd.grad(value, empty)[0].shape == (0, K)
    half, ratio = z.bfloat16(), lam.float()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss(half, a, b, ratio), loss(half.float(), a, b, ratio))
    far = torch.tensor([[300.0, -300, 0, 1, 2]] * B, requires_grad=True)
    value = loss(far, a, b, ratio)
    assert torch.isfinite(value)
    assert torch.isfinite(torch.autograd.grad(value, far)[0]).all()
    with pytest.raises(InvalidInput, match="labels a must be"):
        loss(z, a.double(), b, lam)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    "ratio", [0.3, np.float64(0.3), np.array(0.3), np.full(B, 0.3), torch.full((B, 1), 0.3).double()]
)
def test_any_form_of_the_mixing_ratio_will_do(name: str, ratio: Any) -> None:
    z, a, b, _ = batch(5)
    assert torch.allclose(FUNCTIONS[name](z, a, b, ratio), FUNCTIONS[name](z, a, b, torch.tensor(0.3).double()))
    for wrong in (torch.full((B - 1,), 0.3), torch.full((B, 2), 0.3), 1.5, float("nan"), None):
        with pytest.raises(InvalidInput, match="the mixing ratio"):
            FUNCTIONS[name](z, a, b, wrong)


@pytest.mark.parametrize("name", ["la", "vs", "cdt", "temperature", "ldam", "complement", "cw"])
def test_logits_of_other_classes_than_the_counted_ones_are_refused(name: str) -> None:
    z, a, b, lam = batch(6)
    loss = FUNCTIONS[name]
    for wrong in (z[:, 1:], torch.cat([z, z], dim=1), z.long(), z[0]):
        with pytest.raises(InvalidInput, match=rf"logits must be a floating-point tensor of shape \(B, ({K}|K)\), not"):
            loss(wrong, a.clamp(max=K - 2), b.clamp(max=K - 2), lam)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "ms"])
def test_losses_wait_for_no_device_and_compile_whole(name: str) -> None:
    """A meta tensor has no values, as those of a GPU are not there yet: any that were read would raise."""
    loss, (z, a, b, lam) = copy.deepcopy(FUNCTIONS[name]), batch(4)
    torch.compiler.reset()  # each loss is the first to be compiled
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(z, a, b, lam), loss(z, a, b, lam))
    assert isinstance(loss, torch.nn.Module)
    assert loss.to("meta")(*(x.to("meta") for x in (z, a, b, lam))).shape == ()


@pytest.mark.parametrize("per_image", [True, False])
@pytest.mark.parametrize(
    "loss",
    [
        LogitAdjustment(IMAGES, 0.0),
        VectorScaling(IMAGES, 0.0, 0.0),
        Temperature(IMAGES, eps=0.0),
        Temperature(torch.full((K,), 7)),
        Weighted(CrossEntropy(), torch.ones(K)),
        Weighted(CrossEntropy(), torch.ones(K), normalisation="batch"),
        Weighted(CrossEntropy(), inverse(IMAGES), begin=0.8),
        Weighted(CrossEntropy(), effective(IMAGES, 0.0)),
    ],
)
def test_what_corrects_nothing_is_cross_entropy_bit_for_bit(loss: Loss, per_image: bool) -> None:
    z, a, b, lam = batch(5, per_image=per_image)
    z, lam = z.float().requires_grad_(), lam.float()
    values = loss(z, a, b, lam), mixed_cross_entropy(z, a, b, lam)
    assert torch.equal(*values)
    assert torch.equal(*(torch.autograd.grad(value, z)[0] for value in values))


@pytest.mark.parametrize("name", ["focal", "focal-ldam", "ldam", "la", "vs"])
def test_deferred_weights_change_no_bit_of_any_loss(name: str) -> None:
    loss = ONE_LABEL[name][0]
    z, a, b, lam = batch(6)
    z, lam = z.float().requires_grad_(), lam.float()
    for normalisation in ("weights", "batch"):
        deferred = Weighted(loss, inverse(IMAGES), begin=0.5, normalisation=normalisation)
        values = deferred(z, a, b, lam), loss(z, a, b, lam)
        assert torch.equal(*values)
        assert torch.equal(*(torch.autograd.grad(value, z)[0] for value in values))


def test_other_identities() -> None:
    given = batch(7)

    def same(first: Loss, second: Loss, **bound: float) -> None:
        assert torch.allclose(first(*given), second(*given), **{"rtol": 1e-6, **bound})

    same(Focal(0.0), CrossEntropy())
    same(FocalOfWeighted(0.0), CrossEntropy())
    same(FocalOfWeighted(2.0), Focal(2.0))  # without class weights the two forms are one
    same(LDAM(IMAGES, max_margin=0.0), CrossEntropy())
    same(VectorScaling(IMAGES, 0.0, 1.5), LogitAdjustment(IMAGES, 1.5))
    same(LogitAdjustment(IMAGES), LogitMap(offsets=torch.log(IMAGES.float())))  # log n and log pi
    same(LogitAdjustment(torch.full((K,), 3), 2.0), CrossEntropy())
    weights = inverse(IMAGES)
    for loss in (CrossEntropy(), Focal(1.0), LDAM(IMAGES)):
        same(Weighted(loss, weights), Weighted(loss, 50 * weights))  # only ratios count
    assert effective(IMAGES, 1 - 1e-9).numpy() == pytest.approx(weights.numpy(), rel=1e-5)
    assert float(LDAM(IMAGES).margins.max()) == 15  # half of the scale 30


@pytest.mark.parametrize("normalisation", ["weights", "batch"])
def test_at_ratio_one_class_weights_are_those_of_torch(normalisation: str) -> None:
    z, a, b, _ = batch(8)
    weights = inverse(IMAGES)
    ours = Weighted(CrossEntropy(), weights, normalisation=normalisation)(z, a, b, 1.0)
    rows = F.cross_entropy(z, a, weight=weights, reduction="none")
    expected = F.cross_entropy(z, a, weight=weights) if normalisation == "weights" else rows.mean()
    assert torch.allclose(ours, expected, rtol=1e-6)
    if normalisation == "batch":  # as torch has it for soft labels
        assert torch.allclose(ours, F.cross_entropy(z, F.one_hot(a, K).double(), weight=weights), rtol=1e-6)


def test_published_numbers_of_cifar10_at_imbalance_100() -> None:
    """Weights, margins and temperatures as the official code has them at n = 5000 to 50."""
    counts = torch.tensor([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])
    weights = effective(counts)
    assert weights[[0, -1]].tolist() == pytest.approx([0.051, 3.99], abs=0.01)
    mean = float((weights * counts).sum() / counts.sum())
    assert mean == pytest.approx(0.171, abs=0.001)  # of training images: the step is 5.8 times smaller by batch
    assert (LDAM(counts).margins / 30)[[0, -1]].tolist() == pytest.approx([0.158, 0.5], abs=0.001)
    factors = Temperature(counts).factors
    assert factors is not None
    assert (1 / factors)[[0, -1]].tolist() == pytest.approx([1.0, 2.41], abs=0.01)


@pytest.mark.parametrize("way", [10**6, 0])  # a scan and a tree
@pytest.mark.parametrize("unordered", [False, True])
def test_a_label_pair_is_shifted_by_both_its_classes(
    unordered: bool, way: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the softmax over all label pairs with logits lambda D_c z_c + (1-lambda) D_d z_d + o_c + o_d, with gradients."""
    monkeypatch.setattr("training.model.losses.SCAN", way)
    z, a, b, lam = batch(9)
    z.requires_grad_()
    if unordered:
        a, b = torch.minimum(a, b), torch.maximum(a, b)
        a, b = torch.where(a == b, (a - 1).clamp(min=0), a), torch.where(a == b, b.clamp(min=1), b)
    factors, offsets = torch.from_numpy((COUNTS / 500) ** 0.3), torch.from_numpy(np.log(PI))
    pairs = [(c, d) for c in range(K) for d in range(K) if c < d or not unordered]
    x, ratio = factors * z, lam[:, None]
    logits = torch.stack(
        [ratio[:, 0] * x[:, c] + (1 - ratio[:, 0]) * x[:, d] + offsets[c] + offsets[d] for c, d in pairs], 1
    )
    target = torch.tensor([pairs.index((c, d)) for c, d in zip(a.tolist(), b.tolist(), strict=True)])
    values = (
        mixed_singleton(factors * z, a, b, lam, unordered=unordered, offsets=offsets),
        F.cross_entropy(logits, target),
    )
    assert torch.allclose(*values, rtol=1e-10)
    assert torch.allclose(*(torch.autograd.grad(value, z)[0] for value in values), rtol=1e-8, atol=1e-12)


def test_the_cosine_classifier_has_scaled_cosines_and_starts_with_unit_directions() -> None:
    torch.manual_seed(0)
    classifier = Cosine(16, 5, scale=12.0)
    h = 3 * torch.randn(B, 16)
    cosines = F.cosine_similarity(h[:, None], classifier.linear.weight[None], dim=2)
    assert torch.allclose(classifier(h), 12 * cosines, atol=1e-5)
    assert torch.allclose(classifier.linear.weight.norm(dim=1), torch.ones(5))
    assert torch.allclose(classifier.class_vectors.norm(dim=1), torch.full((5,), 12.0))
    with torch.no_grad():
        before = classifier(h)
        classifier.linear.weight.mul_(0.1)
        assert torch.allclose(classifier(h), before, atol=1e-4)


def test_classes_without_images_and_unknown_words_are_refused() -> None:
    for make in (inverse, effective, LogitAdjustment, VectorScaling, Temperature, LDAM, ClassWeights):
        with pytest.raises(InvalidInput, match="every class needs images or labels, and class 1 has 0"):
            make(torch.tensor([3, 0, 2]))
    with pytest.raises(InvalidInput, match=r"shape \(K,\), not \(2, 2\)"):
        inverse(torch.ones(2, 2))
    with pytest.raises(InvalidInput, match=r"beta = 1 must lie in \[0, 1\)"):
        effective(IMAGES, 1.0)
    with pytest.raises(InvalidInput, match="normalisation 'mean' is unknown"):
        Weighted(CrossEntropy(), torch.ones(K), normalisation="mean")
    with pytest.raises(InvalidInput, match="eps = 2 must lie"):
        Temperature(IMAGES, eps=2.0)
