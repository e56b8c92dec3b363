"""Reports: JSON, plots and self-contained pages."""
