"""The benchmarks, one file each; every one has ``measure(scale) -> outcomes``."""
