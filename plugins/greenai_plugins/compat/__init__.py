"""Names of older projects on top of greenai, so that their scripts run with another import.

Each module keeps the signatures that the documents of its project show; docs/migrating.md
lists what changed.
"""
