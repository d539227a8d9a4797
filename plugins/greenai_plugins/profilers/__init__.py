"""Sources of energy, one file each."""
