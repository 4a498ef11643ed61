"""From tables to sentences: columns, verdicts, claims, report."""
