"""Losses against brute force with gradients, the ETF, parameter counts."""

from __future__ import annotations

import copy
import importlib
import itertools
import math
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch.nn import functional as F

from lpm.console.errors import InvalidInput
from training.config import RunConfig
from training.model import build
from training.model.cifar_resnets import ResNet
from training.model.classifiers import FC, FixedETF, MixedSingleton, MixedSingletonETF, simplex_etf
from training.model.imagenet_resnets import Bottlenecks
from training.model.long_tail_losses import ClassWeights, LogitAdjustment
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
@pytest.mark.parametrize("K", [3, 10, 25, 260])
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


def test_two_classes_have_no_second_label_pair_to_tell_apart() -> None:
    z, a, b, lam = batch(2, True, per_row=True)
    with pytest.raises(InvalidInput, match="2 classes have at most one label pair a < b, so there is nothing to learn"):
        mixed_singleton(z, a, b, lam, unordered=True)
    naive = mixed_cross_entropy(
        torch.stack([lam * z[:, c] + (1 - lam) * z[:, d] for c in (0, 1) for d in (0, 1)], 1), 2 * a + b, a, 1.0
    )
    assert torch.allclose(mixed_singleton(z, a, b, lam), naive, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("lam", [[2.5, -1.0], [0.5, -1.0], [float("nan"), 0.5], 2.5])
def test_ratios_that_are_none_are_refused_where_they_can_be_read(lam: Any) -> None:
    z, a, b, ratio = torch.randn(2, 3), torch.tensor([0, 1]), torch.tensor([1, 2]), torch.tensor(lam)
    wrong = ratio.flatten()[~((ratio >= 0) & (ratio <= 1)).flatten()][0]
    with pytest.raises(InvalidInput, match=rf"^the mixing ratio {float(wrong):g} must lie in \[0, 1\]$"):
        mixed_singleton(z, a, b, ratio, unordered=True)
    rounded = torch.tensor([1.0, 0.0]) + torch.tensor([2e-7, -2e-7])
    assert torch.isfinite(mixed_singleton(z, a, b, rounded, unordered=True))


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


PAIRS = torch.tensor([0, 3, 2, 1]), torch.tensor([1, 0, 1, 3])
"""Label pairs in either order, without (a, a)."""


CLASSIFIERS = (
    FC(8, 4),
    FixedETF(8, 4),
    MixedSingleton(8, 4),
    MixedSingleton(8, 4, unordered=True),
    MixedSingletonETF(8, 4, unordered=True),
)


@pytest.mark.parametrize("kind", [MixedSingleton, MixedSingletonETF])
@pytest.mark.parametrize("mode", ["eager", "compiled"])
@pytest.mark.parametrize("per_image", [False, True])
def test_a_label_pair_in_the_other_order_is_the_same_mixture(kind: Any, mode: str, per_image: bool) -> None:
    torch.manual_seed(0)
    classifier, h, (a, b) = kind(8, 4, unordered=True), torch.randn(4, 8), PAIRS
    lam = torch.rand(4) if per_image else torch.tensor(0.9)
    swap = a > b
    ordered = torch.where(swap, b, a), torch.where(swap, a, b), torch.where(swap, 1 - lam, lam)
    loss = torch.compile(classifier.loss, backend="eager", fullgraph=True) if mode == "compiled" else classifier.loss
    assert torch.allclose(loss(h, a, b, lam), classifier.loss(h, *ordered))
    gradients = [
        torch.autograd.grad(x, list(classifier.parameters()))
        for x in (loss(h, a, b, lam), classifier.loss(h, *ordered))
    ]
    for gradient, theirs in zip(*gradients, strict=True):
        assert torch.allclose(gradient, theirs, atol=1e-6)


def test_a_compiled_loss_is_not_compiled_anew_for_every_mixing_ratio() -> None:
    classifier, counter = MixedSingleton(8, 4, unordered=True), CompileCounter()
    loss, h = torch.compile(classifier.loss, backend=counter, fullgraph=True), torch.randn(4, 8)
    for lam in np.random.default_rng(0).random(12).tolist():
        assert torch.allclose(loss(h, *PAIRS, lam), classifier.loss(h, *PAIRS, lam))
    assert counter.frame_count <= 2


def test_where_labels_cannot_be_read_a_pair_of_one_class_makes_loss_and_gradients_nan() -> None:
    z = torch.randn(3, 5, requires_grad=True)
    compiled = torch.compile(partial(mixed_singleton, unordered=True), backend="eager", fullgraph=True)
    loss = compiled(z, torch.tensor([0, 3, 1]), torch.tensor([1, 3, 0]), torch.tensor(0.4))
    (gradient,) = torch.autograd.grad(loss, z)
    assert torch.isnan(loss)
    assert torch.isnan(gradient[1]).all()


def test_the_loss_waits_for_no_device() -> None:
    """A meta tensor has no values, as those of a GPU are not there yet: any that were read would raise."""
    for classifier in map(copy.deepcopy, CLASSIFIERS):
        h, lam = torch.randn(4, 8, device="meta"), torch.rand(4, device="meta")
        for ratio in (lam, 0.3, torch.tensor(0.3)):
            loss = classifier.to("meta").loss(h, *(x.to("meta") for x in PAIRS), ratio)
            assert loss.shape == ()


def plain(name: str, z: torch.Tensor, a: torch.Tensor, b: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
    """The losses as stored runs were trained with them, word for word."""
    of_a, of_b = (z.gather(1, label[:, None])[:, 0] for label in (a, b))
    target, weight = lam * of_a + (1 - lam) * of_b, lam.reshape(-1, 1) if lam.ndim else lam
    if name == "ce":
        return (torch.logsumexp(z, dim=1) - target).mean()
    if name == "dr":
        return (lam / 2 * (of_a - 1) ** 2 + (1 - lam) / 2 * (of_b - 1) ** 2).mean()
    if name == "ms":
        return (torch.logsumexp(weight * z, dim=1) + torch.logsumexp((1 - weight) * z, dim=1) - target).mean()
    before = torch.logcumsumexp(weight * z, dim=1)[:, :-1]
    return (torch.logsumexp((1 - weight) * z[:, 1:] + before, dim=1) - target).mean()


LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "ce": mixed_cross_entropy,
    "dr": dot_regression,
    "ms": mixed_singleton,
    "ms-unordered": partial(mixed_singleton, unordered=True),
}


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_float32_losses_are_bit_for_bit_those_of_stored_runs(name: str, per_image: bool) -> None:
    z, a, b, lam = batch(10, True, per_row=per_image)
    z, lam = z.detach().float().requires_grad_(), lam.float()
    results = [loss(z, a, b, lam) for loss in (LOSSES[name], partial(plain, name))]
    gradients = [torch.autograd.grad(loss, z)[0] for loss in results]
    assert torch.equal(*results)
    assert torch.equal(*gradients)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_summed_in_float32_under_autocast_and_of_half_precision_logits(name: str, dtype: torch.dtype) -> None:
    z, a, b, lam = batch(1000, True, per_row=False)
    z, lam = z.detach().to(dtype), lam.float()
    exact = LOSSES[name](z.float(), a, b, lam)
    with torch.autocast("cpu", dtype):
        assert torch.equal(LOSSES[name](z.float(), a, b, lam), exact)
        assert torch.equal(LOSSES[name](z, a, b, lam), exact)
    assert torch.equal(LOSSES[name](z, a, b, lam), exact)


def test_a_loss_of_ones_own_gets_float32_and_a_tensor() -> None:
    seen: list[torch.Tensor] = []

    def custom_loss(z: torch.Tensor, a: torch.Tensor, b: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
        seen.extend([z, lam, z @ z.T])
        return z.sum()

    with torch.autocast("cpu", torch.bfloat16):
        FC(8, 4, loss=custom_loss).loss(torch.randn(4, 8), *PAIRS, 0.3)
    assert [x.dtype for x in seen] == [torch.float32] * 3
    assert seen[1].shape == ()


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_the_mixing_ratio_is_a_number_an_array_or_a_tensor_of_any_usual_shape(classifier: Any) -> None:
    classifier, h = copy.deepcopy(classifier).eval(), torch.randn(4, 8)
    for lam in (
        0.25,
        np.float64(0.25),
        np.float32(0.25),
        np.array(0.25),
        torch.tensor([0.25]),
        torch.tensor(0.25).bfloat16(),
    ):
        assert torch.equal(classifier.loss(h, *PAIRS, lam), classifier.loss(h, *PAIRS, torch.tensor(0.25)))
    assert torch.equal(classifier.loss(h, *PAIRS, np.int64(1)), classifier.loss(h, *PAIRS, torch.tensor(1.0)))
    each = torch.tensor([0.1, 0.9, 0.5, 0.0])
    for lam in (each[:, None], each[:, None, None, None], each.double(), each.numpy(), each.double().numpy()[:, None]):
        loss = classifier.loss(h, *PAIRS, lam)
        assert torch.allclose(loss, classifier.loss(h, *PAIRS, each))
        assert loss.dtype == torch.float32
    assert torch.equal(classifier.loss(h, *PAIRS, 1), classifier.loss(h, *PAIRS, torch.tensor(1.0)))
    compiled = torch.compile(classifier.loss, backend="eager")
    for lam in (0.25, 0.5, np.float64(0.125)):
        assert torch.equal(compiled(h, *PAIRS, lam), classifier.loss(h, *PAIRS, lam))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lam": torch.rand(3)}, r"mixing ratio must have shape \(\), \(4,\) or \(4, 1\), not float32 of shape \(3,\)"),
        ({"lam": torch.rand(1, 4)}, r"not float32 of shape \(1, 4\)"),
        ({"lam": torch.rand(4, 4)}, r"not float32 of shape \(4, 4\)"),
        ({"lam": torch.rand(0)}, r"not float32 of shape \(0,\)"),
        ({"lam": torch.ones(4, dtype=torch.int64)}, "must be floating-point, not int64"),
        ({"lam": np.ones(4, dtype=bool)}, "floating-point array or tensor, not a NumPy array of bool"),
        ({"lam": True}, "a number or a floating-point array or tensor, not a bool"),
        ({"lam": [0.5] * 4}, "a number or a floating-point array or tensor, not a list"),
        ({"lam": None}, "not a NoneType"),
        ({"lam": 1.5}, r"1\.5 must lie in \[0, 1\]"),
        ({"lam": np.array([0.1, 0.2, np.nan, 0.3])}, r"nan must lie in \[0, 1\]"),
        ({"a": torch.rand(4)}, r"labels a must be a tensor of whole numbers of shape \(4,\), not float32"),
        ({"b": torch.ones(4, 1, dtype=torch.int64)}, r"labels b .* not int64 of shape \(4, 1\)"),
        ({"b": torch.ones(1, dtype=torch.int64)}, r"labels b .* not int64 of shape \(1,\)"),
        ({"a": torch.ones(4, dtype=torch.bool)}, "labels a .* not bool"),
        ({"a": [0, 1, 2, 3]}, "labels a .* not a list"),
        ({"a": torch.ones(4, dtype=torch.int64, device="meta")}, "labels a are on device meta, logits on cpu"),
        (
            {"z": torch.rand(4)},
            r"logits must be a floating-point tensor of shape \(B, K\), not float32 of shape \(4,\)",
        ),
        ({"z": torch.ones(4, 5, dtype=torch.int64)}, "logits must be a floating-point tensor .* not int64"),
    ],
)
@pytest.mark.parametrize("name", LOSSES)
def test_wrong_shapes_and_types_are_refused_in_one_line(name: str, change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"z": torch.randn(4, 5), "a": PAIRS[0], "b": PAIRS[1], "lam": 0.5}
    LOSSES[name](*good.values())
    with pytest.raises(InvalidInput, match=message) as error:
        LOSSES[name](*{**good, **change}.values())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
def test_labels_may_have_any_type_of_whole_numbers(dtype: torch.dtype) -> None:
    z = torch.randn(4, 5)
    for loss in LOSSES.values():
        assert torch.equal(loss(z, *(x.to(dtype) for x in PAIRS), 0.3), loss(z, *PAIRS, 0.3))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("B", [0, 1])
@pytest.mark.parametrize("lam", ["number", "per image"])
@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_losses_and_gradients_of_batches_of_one_image_and_none_are_finite(classifier: Any, B: int, lam: str) -> None:
    h = torch.randn(B, 8, requires_grad=True)
    labels = torch.zeros(B, dtype=torch.int64), torch.ones(B, dtype=torch.int64)
    classifier = copy.deepcopy(classifier)
    loss = classifier.loss(h, *labels, 0.3 if lam == "number" else torch.rand(B))
    loss.backward()
    assert torch.isfinite(loss)
    assert B or loss == 0
    assert all(torch.isfinite(p.grad).all() for p in classifier.parameters() if p.grad is not None)
    assert all(torch.isfinite(x).all() for x in classifier.buffers())


BACKBONES: dict[str, Callable[[], ResNet | Bottlenecks]] = {
    "resnet": lambda: ResNet("resnet8", width=4),
    "bottlenecks": lambda: Bottlenecks(width=4),
    "partly frozen": lambda: Bottlenecks(width=4, trains="block"),
}


NETWORKS = [
    *itertools.product(["resnet"], [FC, FixedETF, MixedSingletonETF]),
    ("bottlenecks", FC),
    ("partly frozen", FC),
]
"""Every kind of backbone and classifier."""


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> build.Network:
    """A network at inference."""
    backbone, classifier = BACKBONES[request.param[0]](), request.param[1]
    return build.Network(backbone, classifier(backbone.p, 10)).eval()


@torch.no_grad()
def test_a_network_at_inference_can_be_exported_with_any_size_of_batch(network: build.Network) -> None:
    sizes = ({0: torch.export.Dim("B")},)
    exported = torch.export.export(network, (torch.randn(2, 3, 32, 32),), dynamic_shapes=sizes).module()
    for x in (torch.randn(2, 3, 32, 32), torch.randn(5, 3, 32, 32)):
        assert torch.allclose(exported(x), network(x), atol=1e-5)


@torch.no_grad()
def test_a_network_at_inference_is_one_graph_for_torch_compile(network: build.Network) -> None:
    x = torch.randn(2, 3, 32, 32)
    assert torch.allclose(torch.compile(network, backend="eager", fullgraph=True)(x), network(x), atol=1e-5)


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler for torch.compile's own backend")
@torch.no_grad()
def test_a_network_compiled_to_code_predicts_the_same() -> None:
    backbone, x = ResNet("resnet8", width=4), torch.randn(2, 3, 32, 32)
    network = build.Network(backbone, MixedSingleton(backbone.p, 10, unordered=True)).eval()
    assert torch.allclose(torch.compile(network)(x), network(x), atol=1e-4)


@pytest.mark.filterwarnings("ignore:.isinstance.treespec:FutureWarning")  # torch's own
@pytest.mark.parametrize("network", NETWORKS[:-1], indirect=True)  # what is frozen is the same file
@torch.no_grad()
def test_onnx_of_a_network_at_inference_predicts_the_same(network: build.Network, tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"ONNX needs {package}, which is not installed")
    x, file = torch.randn(2, 3, 32, 32), tmp_path / "network.onnx"
    torch.onnx.export(network, (x,), file, dynamo=True, verbose=False)
    session = importlib.import_module("onnxruntime").InferenceSession(file)
    (scores,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert np.allclose(scores, network(x).numpy(), atol=1e-4)


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


@pytest.mark.parametrize("per_image", [False, True])
def test_losses_that_know_class_frequencies(per_image: bool) -> None:
    """Against the formulas in float64: -sum_j t_j log(pi_j^tau e^z_j / sum_i pi_i^tau e^z_i), and t_j over K pi_j."""
    rng = np.random.default_rng(3)
    B, K, tau = 7, 5, 1.5
    z, counts = rng.normal(size=(B, K)), np.array([50, 20, 10, 5, 1])
    a, b = rng.integers(0, K, (2, B))
    lam = rng.random(B if per_image else ())
    targets = np.zeros((B, K))
    np.add.at(targets, (np.arange(B), a), lam)
    np.add.at(targets, (np.arange(B), b), 1 - lam)
    pi = counts / counts.sum()

    def expected(weights: np.ndarray, strength: float) -> float:
        scores = pi**strength * np.exp(z)
        return float(-(targets * weights * np.log(scores / scores.sum(axis=1, keepdims=True))).sum(axis=1).mean())

    batch = tuple(map(torch.from_numpy, (z.astype(np.float32), a, b, np.asarray(lam, np.float32))))
    images = torch.from_numpy(counts)
    assert float(LogitAdjustment(images, tau)(*batch)) == pytest.approx(expected(np.ones(K), tau), rel=1e-5)
    assert float(ClassWeights(images)(*batch)) == pytest.approx(expected(1 / (K * pi), 0.0), rel=1e-5)
    assert float(LogitAdjustment(images, 0.0)(*batch)) == pytest.approx(expected(np.ones(K), 0.0), rel=1e-5)
    assert float(ClassWeights(torch.full((K,), 3))(*batch)) == pytest.approx(expected(np.ones(K), 0.0), rel=1e-5)
