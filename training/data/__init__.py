"""Images and labels: CIFAR and the digits as arrays, image files by their lists, read without trusting them."""
