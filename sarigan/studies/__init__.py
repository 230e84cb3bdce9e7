"""Studies: variants of a configuration, each with several seeds, trained, evaluated and compared (docs/study.md)."""
