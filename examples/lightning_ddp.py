"""BMLS and the mixed-singleton loss in PyTorch Lightning, on one process or several.

python examples/lightning_ddp.py                # one process
python examples/lightning_ddp.py --processes 2  # DistributedDataParallel
"""

import argparse

import lightning as L
import torch
from digits import Digits
from torch import nn
from torch.utils.data import DataLoader, Dataset

from training import BalancedMixedLabels, Pairs, by_count, mixed_singleton


class PairsModule(L.LightningDataModule):
    """Mixed batches for training, plain ones for testing."""

    def __init__(self, train: Dataset, test: Dataset, batch: int) -> None:
        super().__init__()
        self.train, self.test, self.batch = train, test, batch

    def train_dataloader(self) -> DataLoader:
        # The sampler gives each process its share; `batch` counts the pairs of all processes.
        together = self.batch * self.trainer.world_size
        pairs = Pairs(self.train, BalancedMixedLabels(by_count(self.train.targets), seed=0, batch=together))
        return DataLoader(pairs, batch_size=self.batch, sampler=pairs.sampler)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.test, batch_size=256)


class Classifier(L.LightningModule):
    """A small network; its last linear layer holds the class vectors."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        layers = [nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
        self.network = nn.Sequential(*layers, nn.Linear(512, classes))

    def training_step(self, batch: tuple[torch.Tensor, ...], index: int) -> torch.Tensor:
        x, a, b, lam = batch
        return mixed_singleton(self.network(x), a, b, lam, unordered=True)

    def validation_step(self, batch: tuple[torch.Tensor, ...], index: int) -> None:
        x, y = batch
        self.log("accuracy", (self.network(x).argmax(1) == y).float().mean(), sync_dist=True, prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=32, help="pairs per process")
    options = parser.parse_args(arguments)
    L.seed_everything(0)
    trainer = L.Trainer(
        max_epochs=options.epochs,
        accelerator="auto",
        devices=options.processes,
        strategy="ddp" if options.processes > 1 else "auto",
        use_distributed_sampler=False,  # the pair sampler shares an epoch among the processes itself
        logger=False,
        enable_checkpointing=False,
    )
    data = PairsModule(Digits(train=True), Digits(train=False), options.batch)
    trainer.fit(Classifier(classes=10), data)
    if trainer.is_global_zero:
        print(f"accuracy {100 * trainer.callback_metrics['accuracy']:.1f} %")
    return float(trainer.callback_metrics["accuracy"])


if __name__ == "__main__":
    main()
