"""Corrections of a finished network that train nothing: what they need of the network, and the scores that they give."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from lpm.console.errors import InvalidInput
from lpm.console.progress import tracked
from training.batches import sources
from training.config import RunConfig
from training.data.datasets import LongTailed
from training.model.build import Network, unsearched
from training.model.corrected import Scorer, Shifted, replaced
from training.sampling.label_law import label_frequencies

TALLEST = 1e30
"""Largest entry that class vectors may have after tau-norm, and one over the least that each one's largest may be: beyond, sums
leave the range of float32."""
EQUAL = 1e-4
"""Relative difference up to which lengths of class vectors count as equal."""


CHUNK = 10_000
"""Images whose classifier inputs are held in double precision at a time."""

UNIFORM = 1e-12
"""Difference up to which frequencies of classes count as equal."""


class NotDefined(InvalidInput):
    """A correction means nothing for a run. Others may."""


@dataclass(frozen=True)
class Options:
    """How corrections are made.

    Attributes:
        tau: strength of logit adjustment, and the power of tau-norm.
        bias: whether tau-norm keeps the bias.
        features: what the nearest class mean does to classifier inputs first: 'un' nothing, 'l2n' unit length, 'cl2n' centring by
            the mean of all training images and then unit length.
    """

    tau: float = 1.0
    bias: bool = False
    features: str = "cl2n"


class Finished:
    """A finished network with the features of its images, computed once.

    Args:
        config: the run.
        network: its network, in evaluation mode.
        data: its data.
        device: where the network is.
        workers: processes that decode image files.
        quiet: whether to show no progress on a terminal.
    """

    def __init__(
        self,
        config: RunConfig,
        network: Network,
        data: LongTailed,
        device: torch.device,
        workers: int = 0,
        *,
        quiet: bool = True,
    ) -> None:
        self.config, self.network, self.data, self.device, self.quiet = config, network, data, device, quiet
        self.source = sources.of(config, data, device, workers)
        self._inputs: dict[str, Tensor] = {}

    @property
    def class_vectors(self) -> np.ndarray:
        """The class vectors, (K, p) float64."""
        return self.network.classifier.class_vectors.detach().double().cpu().numpy()

    @property
    def bias(self) -> np.ndarray:
        """The bias of each class, (K,) float64; zeros without a bias."""
        bias = self.network.classifier.bias
        return np.zeros(self.config.K) if bias is None else bias.detach().double().cpu().numpy()

    def logits(self, part: str) -> np.ndarray:
        """Compute the network's logits.

        Args:
            part: 'test' or 'holdout'.

        Returns:
            (n, K) float64.
        """
        return self._of_images(part, lambda h: self.network.classifier(h)).astype(np.float64)

    def inputs(self, part: str) -> np.ndarray:
        """Compute the classifier inputs of unmixed images without augmentation.

        Args:
            part: 'train', 'test' or 'holdout'.

        Returns:
            (n, p) float32.
        """
        return self._of_images(part, lambda h: self.network.classifier.features(h))

    @torch.no_grad()
    def _of_images(self, part: str, of_features: Callable[[Tensor], Tensor]) -> np.ndarray:
        if part not in self._inputs:
            images = torch.arange(len(self.data.parts[part].labels))
            with unsearched():
                batches = tracked(
                    getattr(self.source, part)(images), len(images), f"{part} images", size=len, quiet=self.quiet
                )
                chunks = [self._features(x).cpu() for x in batches]
            self._inputs[part] = torch.cat(chunks)
        of_part = torch.split(self._inputs[part], sources.EVALUATION_BATCH[self.device.type])
        return torch.cat([of_features(h.to(self.device)).float().cpu() for h in of_part]).numpy()

    def _features(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        return self.network.features(x, bf16=self.config.precision == "bf16")

    @cached_property
    def recalibrated(self) -> Finished:
        """The same network with BatchNorm statistics of unmixed training images, the mean over batches in random order.

        Raises NotDefined if it has none.
        """
        network = copy.deepcopy(self.network)
        other = Finished(self.config, network, self.data, self.device, quiet=self.quiet)
        other.source = self.source
        network.train()
        norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
        if not norms:
            raise NotDefined("the network has no BatchNorm whose statistics were measured in training")
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches, each counting equally
        order = torch.randperm(len(self.data.train.labels), generator=torch.Generator().manual_seed(0))
        with torch.no_grad(), unsearched():
            for x in tracked(self.source.train(order), len(order), "BatchNorm", size=len, quiet=self.quiet):
                if len(x) > 1:  # one image has no variance in the classifier's BatchNorm
                    network.classifier(other._features(x))
        network.eval()
        return other


def uncorrected(run: Finished, part: str, options: Options) -> np.ndarray:
    """Score classes by the network's logits.

    Args:
        run: the network.
        part: which images, 'test' or 'holdout'.
        options: without effect.

    Returns:
        (n, K) scores.
    """
    return run.logits(part)


def logit_adjustment(run: Finished, part: str, options: Options) -> np.ndarray:
    """Score classes by z - tau log pi, pi the class frequencies of the training stream. Source: Menon et al. 2021.

    The score of MS at an unmixed image is the log-probability of one image's label too, so its prior is the same.

    Args:
        run: the network.
        part: which images, 'test' or 'holdout'.
        options: tau.

    Returns:
        (n, K) scores.

    Raises:
        NotDefined: if logits are no log-probabilities under that prior.
    """
    shift = options.tau * log_prior(run.config, run.data.counts, run.network)  # before any image is read
    return run.logits(part) - shift


def log_prior(config: RunConfig, counts: np.ndarray, network: Network) -> np.ndarray:
    """Compute what post-hoc logit adjustment takes from the logits at tau = 1.

    Args:
        config: the run.
        counts: (K,) its training images of each class.
        network: its network.

    Returns:
        (K,) log of how often the stream of training labels has each class.

    Raises:
        NotDefined: if logits are no log-probabilities under that prior, or the prior is uniform.
    """
    if config.branches != "none":
        raise NotDefined(f"branches {config.branches!r} are trained on labels of two laws, so there is no one prior")
    if config.class_weights != "none":
        raise NotDefined(
            f"class weights {config.class_weights!r} correct the prior already, and logit adjustment would do so twice"
        )
    if config.loss != "ce":
        raise NotDefined(
            f"post-hoc logit adjustment corrects a network trained with plain cross-entropy, and this one has loss "
            f"{config.loss!r}"
        )
    size = np.linalg.norm(network.classifier.class_vectors.detach().double().cpu().numpy(), axis=1)
    if config.prepares != "as-is" and np.ptp(size) <= EQUAL * size.max():
        raise NotDefined(
            "post-hoc logit adjustment is not defined for cosines: they lie in [-1, 1], and log pi would decide alone"
        )
    if config.sampler_from:
        raise NotDefined(
            f"the labels that training drew changed during the run, from random pairs to sampler {config.sampler!r}, so there is "
            "no one prior"
        )
    prior = label_frequencies(config, counts)
    if np.ptp(prior) < UNIFORM:
        raise NotDefined(
            f"sampler {config.sampler!r} shows all classes equally often: the prior is uniform, and logit adjustment "
            "changes nothing"
        )
    return np.log(prior)


@dataclass(frozen=True)
class Linear:
    """Scores that are linear in prepared classifier inputs, as :class:`training.model.corrected.Scorer` has them.

    Attributes:
        W: class vectors, (K, p).
        bias: (K,).
        centre: what is taken from classifier inputs, (p,).
        unit: whether they are then scaled to unit length.
    """

    W: np.ndarray
    bias: np.ndarray
    centre: np.ndarray
    unit: bool = False

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Compute scores.

        Args:
            inputs: classifier inputs, (n, p).

        Returns:
            (n, K) float64.
        """
        return np.asarray(prepared(inputs, self.centre, unit=self.unit) @ self.W.T + self.bias)


def prepared(inputs: np.ndarray, centre: np.ndarray, *, unit: bool) -> np.ndarray:
    """Prepare classifier inputs.

    Args:
        inputs: (n, p).
        centre: what is taken from them, (p,).
        unit: whether they are then scaled to unit length.

    Returns:
        (n, p) float64.
    """
    h = inputs.astype(np.float64) - centre
    return h / np.maximum(np.linalg.norm(h, axis=1, keepdims=True), 1e-12) if unit else h


def tau_norm(run: Finished, options: Options) -> Linear:
    """Score classes by the vectors w_k / |w_k|^tau, without the bias unless it is kept. Source: Kang et al. 2020.

    Args:
        run: the network.
        options: tau, and whether the bias stays.

    Returns:
        The scores.

    Raises:
        NotDefined: if all class vectors have one length, which tau-norm does not change, or one has none.
        InvalidInput: if tau is so large that a network in float32 cannot hold the vectors.
    """
    length = lengths(run)
    if np.ptp(length) <= EQUAL * length.max():
        raise NotDefined("all class vectors have one length, so tau-norm changes nothing")
    if not length.min() > 0:
        raise NotDefined("a class vector has length 0, which tau-norm cannot divide by")
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        scaled = run.class_vectors / length[:, None] ** options.tau
    largest = np.abs(scaled).max(axis=1)
    if not np.all((largest >= 1 / TALLEST) & (largest <= TALLEST)):
        raise InvalidInput(f"tau-norm at tau = {options.tau:g} leaves the range of float32; take a smaller tau")
    return Linear(scaled, run.bias * options.bias, np.zeros(scaled.shape[1]))


def lengths(run: Finished) -> np.ndarray:
    """The lengths of the class vectors.

    Args:
        run: the network.

    Returns:
        (K,).
    """
    return np.asarray(np.linalg.norm(run.class_vectors, axis=1))


def nearest_class_mean(run: Finished, options: Options) -> Linear:
    """Score classes by minus the squared distance to the mean of their training images. Source: Kang et al. 2020.

    Images are unmixed and not augmented. After 'cl2n' and 'l2n' the means are not scaled to unit length again.

    Args:
        run: the network.
        options: what is done with the classifier inputs first.

    Returns:
        The scores.
    """
    train, labels, unit = run.inputs("train"), run.data.train.labels, options.features != "un"
    centre = np.zeros(train.shape[1])
    if options.features == "cl2n":
        centre = train.mean(axis=0, dtype=np.float64)
    means = np.zeros((run.config.K, train.shape[1]))
    for start in range(0, len(train), CHUNK):  # all of iNaturalist would be seven gigabytes
        part_of = slice(start, start + CHUNK)
        np.add.at(means, labels[part_of], prepared(train[part_of], centre, unit=unit))
    means /= run.data.counts[:, None]
    # |h - m|^2 without |h|^2, which all classes share.
    return Linear(2 * means, -(means**2).sum(axis=1), centre, unit)


def linear(of: Callable[[Finished, Options], Linear]) -> Callable[[Finished, str, Options], np.ndarray]:
    """Score images by a correction whose scores are linear.

    Args:
        of: the correction.

    Returns:
        The function that scores classes, for :class:`Correction`.
    """
    return lambda run, part, options: of(run, options)(run.inputs(part))


def recalibrated(run: Finished, part: str, options: Options) -> np.ndarray:
    """Score classes by the logits after BatchNorm's statistics were measured anew on unmixed training images.

    Args:
        run: the network.
        part: which images, 'test' or 'holdout'.
        options: without effect.

    Returns:
        (n, K) scores.
    """
    return run.recalibrated.logits(part)


@dataclass(frozen=True, kw_only=True)
class Correction:
    """A row of :data:`CORRECTIONS`.

    Attributes:
        scores: the function that scores classes.
        options: the fields of :class:`Options` that it takes.
        grid: values of tau that held-out images can choose from; none where there is no tau.
        probabilities: whether scores are log-probabilities up to a constant.
    """

    scores: Callable[[Finished, str, Options], np.ndarray]
    options: tuple[str, ...] = ()
    grid: tuple[float, ...] = ()
    probabilities: bool = True


CORRECTIONS: dict[str, Correction] = {
    "none": Correction(scores=uncorrected),
    "la": Correction(scores=logit_adjustment, options=("tau",), grid=tuple(k / 4 for k in range(9))),
    "tau-norm": Correction(scores=linear(tau_norm), options=("tau", "bias"), grid=tuple(k / 10 for k in range(21))),
    "ncm": Correction(scores=linear(nearest_class_mean), options=("features",), probabilities=False),
    "bn": Correction(scores=recalibrated),
}
"""The corrections by name, as :data:`training.store.posthoc.NAMES` has them."""


def corrected_network(run: Finished, name: str, options: Options) -> Network:
    """Give a network the classifier that a correction makes of its own, or the statistics of BatchNorm.

    Args:
        run: the network.
        name: 'la', 'tau-norm', 'ncm' or 'bn'.
        options: how.

    Returns:
        A network with the scores of the correction.

    Raises:
        NotDefined: if the correction is not defined for the run.
    """
    if name == "la":
        shift = options.tau * log_prior(run.config, run.data.counts, run.network)
        return replaced(run.network, Shifted(run.network.classifier, shift))
    if name == "bn":
        return run.recalibrated.network
    how = {"tau-norm": tau_norm, "ncm": nearest_class_mean}[name](run, options)
    scorer = Scorer(run.network.classifier, how.W, how.bias, how.centre, unit=how.unit)
    return replaced(run.network, scorer)
