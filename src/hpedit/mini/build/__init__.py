"""Building the mini weights from scratch: VAE, then base editor, then judge."""
