"""Datasets in other tools' formats."""
