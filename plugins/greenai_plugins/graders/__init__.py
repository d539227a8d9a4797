"""From a report to a grade."""
