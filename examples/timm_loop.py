"""BMLS and the mixed-singleton loss with timm: its models, optimisers and schedules, and given pairs in place of its Mixup.

python examples/timm_loop.py                              # the digits of scikit-learn
python examples/timm_loop.py --data D --model resnet50d   # D/train and D/test hold one folder of images per class
"""

import argparse

import timm
import torch
from digits import Digits
from timm.data import create_dataset, create_transform, resolve_model_data_config
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import AverageMeter, accuracy
from torch import nn
from torch.utils.data import DataLoader

from training import BalancedMixedLabels, Pairs, by_count, mixed_singleton


def folders(root: str, model: nn.Module) -> tuple[torch.utils.data.Dataset, torch.utils.data.Dataset, list[int]]:
    """Image folders with timm's own transforms, and the label of each training image."""
    config = resolve_model_data_config(model)
    train = create_dataset("", root=root, split="train", transform=create_transform(**config, is_training=True))
    test = create_dataset("", root=root, split="test", transform=create_transform(**config))
    labels = [label for _, label in train.reader.samples]
    return train, test, labels


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", help="folder with train/ and test/")
    parser.add_argument("--model", default="test_resnet")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--pretrained", action="store_true")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    model = timm.create_model(options.model, pretrained=options.pretrained, num_classes=options.classes).to(device)
    if options.data:
        train, test, labels = folders(options.data, model)
    else:
        train, test = Digits(train=True, size=32), Digits(train=False, size=32)
        labels = train.targets

    sampler = BalancedMixedLabels(by_count(labels), seed=0, batch=options.batch)
    pairs = Pairs(train, sampler, alpha=1.0)
    loader = DataLoader(pairs, batch_size=options.batch, sampler=pairs.sampler)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=2e-3, weight_decay=0.05)
    schedule, epochs = create_scheduler_v2(optimizer, sched="cosine", num_epochs=options.epochs)
    for epoch in range(epochs):
        model.train()
        losses = AverageMeter()
        for x, a, b, lam in loader:
            x, a, b, lam = x.to(device), a.to(device), b.to(device), lam.to(device)
            loss = mixed_singleton(model(x), a, b, lam, unordered=True)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.update(loss.item(), len(x))
        schedule.step(epoch + 1)
        print(f"epoch {epoch + 1}: loss {losses.avg:.3f}")
    model.eval()
    top1 = AverageMeter()
    with torch.no_grad():
        for x, y in DataLoader(test, batch_size=256):
            top1.update(accuracy(model(x.to(device)), y.to(device))[0].item(), len(x))
    print(f"accuracy {top1.avg:.1f} %")
    return top1.avg


if __name__ == "__main__":
    main()
