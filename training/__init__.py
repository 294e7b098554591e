"""The paper's experiments: long-tailed data, pair samplers, classifiers, one training loop, a run store, tables."""
