"""Labels and ratios out of soft targets: the losses are those of the targets, and timm's and torchvision's are read."""

from __future__ import annotations

import importlib

import pytest
import torch
import torch.nn.functional as F

from lpm.console.errors import InvalidInput
from training.model.losses import mixed_cross_entropy, mixed_singleton
from training.model.soft_targets import soft_targets, two_labels

B, K = 64, 5
RNG = torch.Generator().manual_seed(0)
Z = torch.randn(B, K, generator=RNG)
A = torch.randint(K, (B,), generator=RNG)
OTHER = (A + torch.randint(1, K, (B,), generator=RNG)) % K
LAM = torch.rand(B, generator=RNG)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_targets_are_those_of_their_labels(smoothing: float) -> None:
    one_hot = F.one_hot(A, K) * LAM[:, None] + F.one_hot(OTHER, K) * (1 - LAM[:, None])
    targets = soft_targets(A, OTHER, LAM, K, smoothing=smoothing)
    torch.testing.assert_close(targets, (1 - smoothing) * one_hot + smoothing / K)
    same = soft_targets(A, A, LAM, K)
    torch.testing.assert_close(same, F.one_hot(A, K).float())
    assert torch.equal(soft_targets(A, OTHER, 0.25, K), soft_targets(A, OTHER, torch.full((B,), 0.25), K))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_do_not_see_the_way_through_targets(smoothing: float) -> None:
    read = two_labels(soft_targets(A, OTHER, LAM, K, smoothing=smoothing), smoothing=smoothing)
    assert bool((read[2] >= 0.5).all())
    for loss in (mixed_cross_entropy, mixed_singleton, lambda *x: mixed_singleton(*x, unordered=True)):
        torch.testing.assert_close(loss(Z, *read), loss(Z, A, OTHER, LAM))


def test_cross_entropy_is_that_of_torch_with_soft_targets() -> None:
    targets = soft_targets(A, A.roll(1), LAM, K)
    torch.testing.assert_close(mixed_cross_entropy(Z, *two_labels(targets)), F.cross_entropy(Z, targets))


def test_one_label_is_given_twice() -> None:
    a, b, lam = two_labels(F.one_hot(A, K).float())
    assert torch.equal(a, A)
    assert torch.equal(b, A)
    assert torch.equal(lam, torch.ones(B))
    with pytest.raises(InvalidInput, match="label pair"):
        mixed_singleton(Z, a, b, lam, unordered=True)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_targets_of_any_precision_are_read(kind: torch.dtype) -> None:
    lam = torch.linspace(0.6, 0.9, B)
    a, b, read = two_labels(soft_targets(A, OTHER, lam, K).to(kind))
    assert torch.equal(a, A)
    assert torch.equal(b, OTHER)
    torch.testing.assert_close(read.float(), lam, atol=4 * torch.finfo(kind).eps, rtol=0)


def test_two_classes_are_enough() -> None:
    a, b, lam = two_labels(torch.tensor([[0.3, 0.7], [0.9, 0.1]]))
    assert (a.tolist(), b.tolist()) == ([1, 0], [0, 1])
    torch.testing.assert_close(lam, torch.tensor([0.7, 0.9]))


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (torch.tensor([[0.5, 0.5, 0.0], [0.4, 0.3, 0.3]]), "target 1 has the masses 0.4 and 0.3"),
        (torch.zeros(1, 3), "target 0 has the masses 0 and 0"),
        (soft_targets(A, OTHER, LAM, K, smoothing=0.1), "smoothing must be that of the targets"),
        (torch.tensor([[1.5, -0.5]]), "masses 1.5 and -0.5"),
        (torch.tensor([[float("nan"), 0.5]]), "masses nan"),
        (torch.tensor([0.5, 0.5]), "shape"),
        (torch.tensor([[1, 0]]), "floating-point"),
        (torch.ones(2, 1), "at least 2"),
    ],
)
def test_other_targets_are_refused(targets: torch.Tensor, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        two_labels(targets)


def test_another_smoothing_than_that_of_two_classes_is_refused() -> None:
    """With two classes the masses have the sum 1 whatever the smoothing is."""
    with pytest.raises(InvalidInput, match="smoothing must be that of the targets"):
        two_labels(torch.tensor([[0.9, 0.1]]), smoothing=0.3)


def test_soft_targets_of_impossible_labels_are_refused() -> None:
    a, b = torch.tensor([0, 1]), torch.tensor([1, 3])
    for given, words in (((a, b, 0.3, 3), r"labels b must lie in 0\.\.2"), ((a, a, 0.3, 0), "at least 2, not 0")):
        with pytest.raises(InvalidInput, match=words):
            soft_targets(*given)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="labels a must be a tensor"):
        soft_targets([0, 1], b, 0.3, 4)  # type: ignore[arg-type]


def test_where_labels_cannot_be_read_at_once_a_third_class_makes_the_loss_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    lam = two_labels(torch.tensor([[0.5, 0.5, 0.0], [0.4, 0.3, 0.3]]))[2]
    assert lam.isnan().tolist() == [False, True]


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_smoothing_is_a_share(smoothing: float) -> None:
    for call in (
        lambda: two_labels(torch.ones(1, 2), smoothing=smoothing),
        lambda: soft_targets(A, A, 1.0, K, smoothing=smoothing),
    ):
        with pytest.raises(InvalidInput, match="label smoothing"):
            call()


@pytest.mark.parametrize("name", ["MixUp", "CutMix"])
def test_targets_of_torchvision_are_read(name: str) -> None:
    try:
        v2 = importlib.import_module("torchvision.transforms.v2")
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision that is not of this torch
        pytest.skip(f"torchvision cannot be imported: {error}")
    torch.manual_seed(0)
    _, targets = getattr(v2, name)(num_classes=K)(torch.randn(B, 3, 8, 8), A)
    a, b, lam = two_labels(targets)
    torch.testing.assert_close(soft_targets(a, b, lam, K), targets)
    assert bool(((a == A) | (b == A)).all())
    assert bool(((a == A.roll(1)) | (b == A.roll(1))).all())


def test_targets_of_timm_are_read() -> None:
    mixup = pytest.importorskip("timm.data.mixup", reason="timm is not installed", exc_type=ImportError)
    torch.manual_seed(0)
    images, labels = torch.randn(B, 1, 4, 4), A
    mixed, targets = mixup.Mixup(mixup_alpha=1.0, label_smoothing=0.1, num_classes=K)(images.clone(), labels)
    a, b, lam = two_labels(targets.float(), smoothing=0.1)
    ratio = lam[a != b]
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))  # one ratio per batch
    flipped = torch.where(a == labels, lam, 1 - lam)[:, None, None, None]
    differ = (labels != labels.flip(0)) & (a != b)
    torch.testing.assert_close((flipped * images + (1 - flipped) * images.flip(0))[differ], mixed[differ])
    assert torch.equal(torch.minimum(a, b)[differ], torch.minimum(labels, labels.flip(0))[differ])
