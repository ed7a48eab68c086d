"""Load results, plans, failures and published numbers."""
