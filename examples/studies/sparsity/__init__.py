"""What the studies of sparse networks share: data, networks, masks, kernels, energy.

The scripts that use it stand in ``examples/studies/deep_rewiring`` and
``examples/studies/pruning``.
"""
