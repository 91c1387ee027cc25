"""Standing lemmas of discounted MDPs, checked on arbitrary policies."""
