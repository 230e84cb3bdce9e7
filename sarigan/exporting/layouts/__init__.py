"""Names and shapes of the same networks in other people's code: `sarigan.importing` reads them, `sarigan.exporting` writes."""
