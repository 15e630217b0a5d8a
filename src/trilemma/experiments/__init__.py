"""Declared experiments: stages, the store they share, the audit, its records and reports."""
