"""For authors of plugins: conformance suites, and simulated hardware with known truth.

Nothing here is imported by greenai itself. The suites need pytest
(the extra ``testing``).
"""
