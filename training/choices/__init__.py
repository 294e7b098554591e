"""The choices of a run, group by group. Each is documented once, beside its default."""
