"""Which two images mixup mixes: the samplers of pairs of images and of label pairs."""
