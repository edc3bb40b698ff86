"""Training the encoder: recordings in, a network from raw EEG to stage probabilities out."""
