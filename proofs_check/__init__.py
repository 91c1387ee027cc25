"""One module per theorem: statement, source, hypotheses, both sides, and the chain of its proof."""
