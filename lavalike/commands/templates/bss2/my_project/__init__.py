"""A perceptron in the loop with a chip."""
