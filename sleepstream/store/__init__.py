"""The record of the nights, in SQLite."""
