"""Ways to apply the codes of a layer to its convolution; each is (x, codes, convolution) -> features."""
