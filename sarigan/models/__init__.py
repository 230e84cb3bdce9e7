"""Networks: generator, discriminator with its Q head, moving average, networks of metrics."""
