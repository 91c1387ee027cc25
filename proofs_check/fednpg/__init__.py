"""FedNPG: federated constrained reinforcement learning with constraint heterogeneity (arXiv 2405.03236)."""
