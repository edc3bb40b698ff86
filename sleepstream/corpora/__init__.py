"""Scored recordings of the published corpora, read into one type: see `catalogue.find`."""
