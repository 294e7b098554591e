"""BMLS and the mixed-singleton loss in a plain PyTorch loop, on data sets in torchvision's style.

python examples/plain.py            # the digits of scikit-learn
python examples/plain.py --data D   # D/train and D/test hold one folder of images per class (needs torchvision)
"""

import argparse

import torch
from digits import Digits
from torch import nn
from torch.utils.data import DataLoader, Dataset

from training import BalancedMixedLabels, Pairs, by_count, mixed_singleton


def folders(root: str) -> tuple[Dataset, Dataset, nn.Module]:
    """Image folders and a ResNet-18."""
    from torchvision import datasets, models, transforms

    tensor = [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    crop = transforms.Compose([transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), *tensor])
    centre = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), *tensor])
    train, test = datasets.ImageFolder(f"{root}/train", crop), datasets.ImageFolder(f"{root}/test", centre)
    if test.classes != train.classes:  # numbers of classes would shift without a word
        raise SystemExit("train/ and test/ must have folders of the same classes")
    return train, test, models.resnet18(num_classes=len(train.classes))


def digits() -> tuple[Dataset, Dataset, nn.Module]:
    """The digits and a small network."""
    layers = [nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return Digits(train=True), Digits(train=False), nn.Sequential(*layers, nn.Linear(512, 10))


@torch.no_grad()
def accuracies(model: nn.Module, test: Dataset, device: torch.device) -> torch.Tensor:
    """Accuracy of each class, (K,)."""
    model.eval()
    batches = [(model(x.to(device)).argmax(1).cpu(), y) for x, y in DataLoader(test, batch_size=256)]
    predicted, labels = (torch.cat(part) for part in zip(*batches, strict=True))
    return torch.stack([(predicted[labels == k] == k).float().mean() for k in range(len(test.classes))])


def main(arguments: list[str] | None = None) -> torch.Tensor:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", help="folder with train/ and test/")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    train, test, model = folders(options.data) if options.data else digits()
    model.to(device)

    sampler = BalancedMixedLabels(by_count(train.targets), seed=0, batch=options.batch)
    pairs = Pairs(train, sampler, alpha=1.0)
    loader = DataLoader(pairs, batch_size=options.batch, sampler=pairs.sampler, num_workers=options.workers)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)
    for epoch in range(options.epochs):
        model.train()
        for x, a, b, lam in loader:
            x, a, b, lam = x.to(device), a.to(device), b.to(device), lam.to(device)
            loss = mixed_singleton(model(x), a, b, lam, unordered=True)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}")
    found = accuracies(model, test, device)
    rare = torch.tensor(train.targets).bincount().argsort()[:3]
    print(f"accuracy {100 * found.mean():.1f} %, {100 * found[rare].mean():.1f} % on the three rarest classes")
    return found


if __name__ == "__main__":
    main()
