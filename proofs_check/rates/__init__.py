"""The relatives of FedNPG and their rates: what each announces, checked in the exact tabular setting.

Statements marked *recalled* are quoted from memory: a constant that holds on everything tried here may still
not be the published one. Those marked *ours* were proved again, with the constants printed on their pages.
"""
