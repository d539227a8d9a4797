"""Drawing: figures to SVG, without a drawing library."""
