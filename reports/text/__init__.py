"""Sentences and tables: what a report says."""
