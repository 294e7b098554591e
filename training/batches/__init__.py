"""What happens to a batch: the random draws of an epoch, the sources of images, augmentation and mixing."""
