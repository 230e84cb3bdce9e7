"""Networks: mapping, synthesis, generator, discriminator with its Q head."""
