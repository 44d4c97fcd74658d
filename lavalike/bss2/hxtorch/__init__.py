"""What speaks to hxtorch or in its names: the connection to a chip, what is handed to the real one,
one module under several names."""
