"""From drawn pairs to the mixed batch that a step trains on: everything random of an epoch, image sources, augmentation."""
