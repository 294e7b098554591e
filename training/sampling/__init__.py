"""Samplers: which two images are mixed, and which label pairs occur."""
