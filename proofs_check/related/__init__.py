"""Statements of others, and simple ones of ours, that DRPO is measured against.

FedLCB-Q of Woo et al. (2024), recalled, has no page: what is known of it here, an order of the number of
episodes without constants, cannot be checked on an instance.
"""
