"""How good the models are: metrics, baselines and the tables of the cards. Trains nothing."""
