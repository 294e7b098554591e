"""The data of runs, made ready before anything is trained: loaded, checked, and without the files that are left out."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lpm.console.errors import InvalidInput
from lpm.console.progress import console
from lpm.console.text import counted, shown
from training.config import RunConfig
from training.data import datasets, decodable, lists
from training.data.datasets import Listed, LongTailed
from training.data.refusals import lines_of, refuse
from training.distributed.ranks import ALONE, Ranks
from training.model import build
from training.options import Options
from training.store import run_data
from training.store.runs import RunFolder

CHECKED = 5000
"""Images that are decoded before training without being asked to, at most. On one core they take some 15 seconds."""

REMEDY = "mend, replace or remove each, or leave them out with --skip-broken"


WEIGHTS = {
    name: f"https://download.pytorch.org/models/{name}-{digits}.pth"
    for name, digits in (
        ("resnet18", "f37072fd"),
        ("resnet34", "b627a593"),
        ("resnet50", "0676ba61"),
        ("resnet152", "394f9c45"),
    )
}
"""Where torchvision's weights are; the digits begin the file's SHA-256."""


def ready(configs: Sequence[RunConfig], options: Options, *, quiet: bool, ranks: Ranks = ALONE) -> LongTailed:
    """Load the data of runs on one data set, and see that they can be used.

    Image files are decoded with ``--check`` and ``--skip-broken``, and where few of them are not known to decode. In
    memory everything is whole.

    Args:
        configs: the runs.
        options: where data and weights are, and what to do about broken files.
        quiet: whether to say nothing meanwhile.
        ranks: the processes that train together; rank 0 decodes for all of them.

    Returns:
        The data.

    Raises:
        InvalidInput: if the data, or the weights that a run starts from, are not there; if a run's network cannot be made, or
            the weights do not fit it; or files cannot be used, each of which is named on standard error before.
    """
    config = configs[0]
    if any(config.pretrained and config.stage == "none" for config in configs):
        if options.weights is None:
            of_timm = "model.safetensors of its page on huggingface.co/timm" if config.model.startswith("timm:") else ""
            place = (
                f": {found}"
                if (found := WEIGHTS.get(config.model, of_timm))
                else " in torchvision's or timm's key layout"
            )
            raise InvalidInput(f"a pretrained network needs --weights, the file of {config.model}'s weights{place}")
        if not os.path.isfile(options.weights):
            raise InvalidInput(f"--weights {str(options.weights)!r} is not a regular file")
    build.check_networks(configs, options.weights)
    if not config.data_set.files:
        # CIFAR as JPEG takes ten seconds.
        with contextlib.nullcontext() if quiet else console().status(f"reading {config.data}"):
            return _loaded(config, options)
    if options.skip_broken:
        left_out = ranks.rank_0_decision(partial(_left_out, config, options, quiet=quiet))
        try:
            return _loaded(config, options, left_out)
        except InvalidInput as error:
            number = len(left_out)
            note = f" ({counted(number, 'file')} that cannot be used left out)" if left_out else ""
            raise InvalidInput(f"{error}{note}") from None
    try:
        data = _loaded(config, options)
    except InvalidInput as error:
        ranks.rank_0_decision(partial(_refuse_all, error, config, options, quiet=quiet))
        raise
    assert isinstance(data.train, Listed)
    root, paths = data.train.root, tuple(path for part in data.parts.values() for path in part.names)
    ranks.rank_0_decision(partial(_check, root, paths, options, quiet=quiet))
    return data


def again(folder: RunFolder, where: argparse.Namespace) -> LongTailed:
    """Load the data of a finished run again, with the run's numbers of classes.

    Args:
        folder: the run.
        where: the options of :func:`training.options.add_data` and :func:`training.options.add_lists`.

    Returns:
        The data.

    Raises:
        InvalidInput: if they are not there, or are others than the run's.
    """
    data = datasets.of(
        folder.config,
        where.data_root,
        train_list=where.train_list,
        test_list=where.test_list,
        leave_out=run_data.left_out(folder.path),
        max_pixels=where.max_pixels,
    )
    if (order := run_data.begun_order(folder.path, data)) is not None:
        data = data.as_begun(*order)
    folder.check(data.fingerprint, images=data)
    return data


def _loaded(config: RunConfig, options: Options, left_out: frozenset[str] = frozenset()) -> LongTailed:
    return datasets.of(
        config,
        options.data_root,
        train_list=options.train_list,
        test_list=options.test_list,
        leave_out=left_out,
        max_pixels=options.max_pixels,
    )


def _left_out(config: RunConfig, options: Options, *, quiet: bool) -> frozenset[str]:
    """The paths of the files that cannot be used, each of which is named.

    Raises InvalidInput where something is wrong that no file can be left out for, such as a folder of an unknown class.
    """
    found = _files(config, options)
    refuse(
        found.problems, f"rows, folders or names of {str(options.data_root)!r}", "--skip-broken leaves out files only"
    )
    unusable = found.unusable | _broken(found.root, found.paths, options, quiet=quiet)
    for text in lines_of(unusable.values(), "left out: "):
        print(shown(text), file=sys.stderr)
    if unusable:
        number, all_files = len(unusable), len(found.paths) + len(found.unusable)
        print(
            f"note: {number:,} of {counted(all_files, 'file')} left out; the run's data.json names them",
            file=sys.stderr,
        )
    return frozenset(unusable)


def _refuse_all(error: InvalidInput, config: RunConfig, options: Options, *, quiet: bool) -> None:
    """Raise the error of a list; if files are the reason, name all files that cannot be used, not only the first."""
    if options.data_root is None:
        raise error
    try:
        found = _files(config, options)
    except InvalidInput:
        raise error from None
    if not (found.problems or found.unusable):
        raise error
    broken = _broken(found.root, found.paths, options, quiet=quiet) if _is_due(found.root, found.paths, options) else {}
    reasons = dict.fromkeys((*found.problems, *found.unusable.values(), *broken.values(), str(error)))
    if found.problems and len(reasons) == 1:  # it says what to do
        raise InvalidInput(next(iter(reasons)))
    among = f"files{' and rows' * bool(found.problems)} of {str(options.data_root)!r}"
    refuse(reasons, among, "mend or remove each" if found.problems else REMEDY)


def _check(root: Path, paths: Sequence[str], options: Options, *, quiet: bool) -> None:
    """Raise InvalidInput if images cannot be decoded, where they are to be checked."""
    if _is_due(root, paths, options):
        broken = _broken(root, paths, options, quiet=quiet)
        refuse(broken.values(), f"files of {str(options.data_root)!r}", REMEDY)


def _is_due(root: Path, paths: Sequence[str], options: Options) -> bool:
    """Whether images are decoded before training: as asked for, else where it takes some seconds only."""
    return (
        decodable.unchecked(root, paths, max_pixels=options.max_pixels) <= CHECKED
        if options.check is None
        else options.check
    )


def _files(config: RunConfig, options: Options) -> lists.Files:
    assert options.data_root is not None
    given = {"train_list": options.train_list, "test_list": options.test_list}
    return lists.files(config.dataset, options.data_root, classes=config.K, **given)


def _broken(root: Path, paths: Sequence[str], options: Options, *, quiet: bool) -> dict[str, str]:
    """By path, what is wrong with each image that cannot be decoded."""
    workers = len(os.sched_getaffinity(0)) if options.workers is None else options.workers
    report = decodable.check(root, paths, workers=workers, quiet=quiet, max_pixels=options.max_pixels)
    if report.unwritable and not quiet:
        print(f"note: {report.unwritable}; the next check decodes all images again", file=sys.stderr)
    return report.broken
