"""greenai in other people's programs."""
