"""Epochs in, estimates out: encoder, decoder, forecast and disorder score."""
