"""The registry of training methods, one file per kind; :mod:`training.methods` puts them together."""
