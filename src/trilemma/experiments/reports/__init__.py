"""From the audit document to pages, tables and test results: no torch, no network."""
