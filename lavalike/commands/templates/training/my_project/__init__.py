"""A spiking network, trained and run."""
