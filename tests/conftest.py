"""One Hypothesis profile: compiled kernels make first examples slow, so there is no deadline."""

from hypothesis import settings

settings.register_profile("tabular_fedrl", deadline=None)
settings.load_profile("tabular_fedrl")
