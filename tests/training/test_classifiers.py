"""Losses against brute force with gradients, the ETF, parameter counts."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from lpm.console.errors import InvalidInput
from training.config import RunConfig
from training.model.cifar_resnets import ResNet
from training.model.classifiers import FC, FixedETF, MixedSingleton, MixedSingletonETF, simplex_etf
from training.model.losses import dot_regression, mixed_cross_entropy, mixed_singleton


def batch(K: int, unordered: bool, *, per_row: bool) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(K)
    z = (4 * torch.randn(16, K, generator=generator, dtype=torch.float64)).requires_grad_()
    a, b = (torch.randint(K, (16,), generator=generator) for _ in range(2))
    if unordered:
        a, b = torch.minimum(a, b), torch.maximum(a, b)
        b = torch.where(a == b, (b + 1).clamp(max=K - 1), b)
        a = torch.where(a == b, a - 1, a)
    lam = torch.rand(16 if per_row else (), generator=generator, dtype=torch.float64)
    return z, a, b, lam


@pytest.fixture(params=["scan", "tree"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum over a < b by a scan and by a tree, whatever K."""
    monkeypatch.setattr("training.model.losses.SCAN", 0 if request.param == "tree" else 10**6)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("unordered", [False, True])
@pytest.mark.parametrize("K", [2, 3, 10, 25, 260])
def test_mixed_singleton_is_the_softmax_over_all_label_pairs(K: int, unordered: bool, per_row: bool) -> None:
    z, a, b, lam = batch(K, unordered, per_row=per_row)
    fast = mixed_singleton(z, a, b, lam, unordered=unordered)
    first, second = (
        torch.triu_indices(K, K, 1) if unordered else torch.cartesian_prod(torch.arange(K), torch.arange(K)).T
    )
    weight = lam.reshape(-1, 1)
    logits = weight * z[:, first] + (1 - weight) * z[:, second]
    target = ((first == a[:, None]) & (second == b[:, None])).int().argmax(dim=1)
    naive = F.cross_entropy(logits, target)
    assert torch.allclose(fast, naive, rtol=1e-12, atol=1e-12)
    for gradient, expected in zip(torch.autograd.grad(fast, z), torch.autograd.grad(naive, z), strict=True):
        assert torch.allclose(gradient, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("way")
def test_mixed_singleton_is_stable_for_large_logits() -> None:
    z = torch.tensor([[1e4, -1e4, 5e3]], dtype=torch.float64, requires_grad=True)
    for unordered in (False, True):
        loss = mixed_singleton(
            z, torch.tensor([0]), torch.tensor([1]), torch.tensor(0.3, dtype=torch.float64), unordered=unordered
        )
        (gradient,) = torch.autograd.grad(loss, z)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


def test_a_mixing_ratio_that_is_learnt_has_the_same_gradient_by_a_scan_and_by_a_tree(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    z, a, b, lam = batch(37, True, per_row=True)
    lam.requires_grad_()
    gradients = []
    for classes in (0, 100):
        monkeypatch.setattr("training.model.losses.SCAN", classes)
        gradients.append(torch.autograd.grad(mixed_singleton(z, a, b, lam, unordered=True), [z, lam]))
    for by_tree, by_scan in zip(*gradients, strict=True):
        assert torch.allclose(by_tree, by_scan, rtol=1e-10, atol=1e-13)


def test_mixed_cross_entropy_is_that_of_the_soft_label() -> None:
    z, a, b, lam = batch(7, False, per_row=False)
    soft = lam * F.one_hot(a, 7) + (1 - lam) * F.one_hot(b, 7)
    assert torch.allclose(mixed_cross_entropy(z, a, b, lam), F.cross_entropy(z, soft), rtol=1e-12)


def test_dot_regression_by_hand() -> None:
    cosines = torch.tensor([[0.5, -0.2, 0.1]])
    loss = dot_regression(cosines, torch.tensor([0]), torch.tensor([1]), torch.tensor(0.25))
    assert loss.item() == pytest.approx(0.25 * 0.5 * 0.5**2 + 0.75 * 0.5 * 1.2**2)


@pytest.mark.parametrize(("p", "K"), [(64, 10), (128, 100), (10, 10)])
def test_simplex_etf(p: int, K: int) -> None:
    W = simplex_etf(p, K, torch.Generator().manual_seed(0)).double()
    gram = W @ W.T
    exact = (K * torch.eye(K) - 1) / (K - 1)
    assert torch.allclose(gram, exact.double(), atol=1e-6)
    with pytest.raises(InvalidInput, match="p >= K"):
        simplex_etf(K - 1, K)


def test_etf_classifiers_do_not_train_their_frame_and_scale_is_learnt() -> None:
    etf, wetf = FixedETF(16, 5), MixedSingletonETF(16, 5)
    assert {n for n, _ in etf.named_parameters()} == {"features.norm.weight", "features.norm.bias"}
    assert {n for n, _ in wetf.named_parameters()} == {"scale", "features.norm.weight", "features.norm.bias"}
    h = torch.randn(8, 16)
    assert etf(h).abs().max() <= 1 + 1e-6
    lengths = wetf.class_vectors.norm(dim=1)
    assert torch.allclose(lengths, wetf.scale.detach(), atol=1e-5)


@pytest.mark.parametrize("kind", ["as-is", "unit", "norm-unit"])
def test_features_are_what_the_option_says(kind: str) -> None:
    h = 3 * torch.randn(64, 8) + 1
    for classifier in (FC(8, 4, features=kind), FixedETF(8, 4, features=kind), MixedSingletonETF(8, 4, features=kind)):
        seen = classifier.features(h)
        if kind == "as-is":
            assert torch.equal(seen, h)
            continue
        assert torch.allclose(seen.norm(dim=1), torch.ones(64), atol=1e-5)
        plain = F.normalize(h, dim=1)
        centred = F.normalize(F.batch_norm(h, None, None, training=True), dim=1)
        assert torch.allclose(seen, plain if kind == "unit" else centred, atol=1e-5)


def test_a_label_pair_without_a_class_is_refused() -> None:
    classifier = MixedSingleton(8, 4, unordered=True)
    h, lam = torch.randn(2, 8), torch.tensor(0.4)
    classifier.loss(h, torch.tensor([0, 1]), torch.tensor([1, 3]), lam)
    with pytest.raises(InvalidInput, match="label pairs a < b"):
        classifier.loss(h, torch.tensor([0, 3]), torch.tensor([1, 3]), lam)


@pytest.mark.parametrize(("K", "width", "total"), [(10, 16, 464_154), (100, 32, 1_861_508)])
def test_parameter_counts(K: int, width: int, total: int) -> None:
    backbone = ResNet("resnet32", width=width)
    classifier = FC(backbone.p, K)
    assert sum(p.numel() for m in (backbone, classifier) for p in m.parameters()) == total
    assert backbone(torch.zeros(2, 3, 32, 32)).shape == (2, 4 * width)


def test_initial_weights_are_kaiming_normal() -> None:
    torch.manual_seed(0)
    weight = ResNet("resnet32").body[3].conv1.weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (16 * 9)), rel=0.05)


def test_learning_rate_curve() -> None:
    config = RunConfig(dataset="cifar10-lt")
    rates = {e: config.lr_at(e) for e in (1, 2, 5, 6, 160, 161, 180, 181, 200)}
    expected = {1: 0.02, 2: 0.04, 5: 0.1, 6: 0.1, 160: 0.1, 161: 0.01, 180: 0.01, 181: 0.001, 200: 0.001}
    assert rates == pytest.approx(expected)
