"""Names and shapes of the same networks in other people's code: what `sarigan.importing` reads and `sarigan.exporting` writes."""
