"""What results mean: tables, figures and the report."""
