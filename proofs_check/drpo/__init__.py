"""DRPO: offline federated policy optimisation with two regularisers (theory notes, drpo)."""
