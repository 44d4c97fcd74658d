"""What the command line does beyond a call of the library: finding what a word of it names, and
looking through that."""
