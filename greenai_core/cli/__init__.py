"""The command line: the only code that prints, reads configuration and decides exit codes."""
