"""Speed and memory, measured side by side in one run; never asserted in tests, because machines are noisy."""
