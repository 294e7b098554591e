"""Speed and memory, measured side by side in one run. Tests assert none of it, because machines are noisy."""
