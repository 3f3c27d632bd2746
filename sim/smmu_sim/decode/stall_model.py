"""A build with another IDR0.STALL_MODEL than its parameters can say."""

__all__ = ["WithStallModel"]


class WithStallModel:
    """The parameters of a build, but for ``stall_model``: the model can stall, the core cannot."""

    def __init__(self, params, stall_model):
        self._params, self.stall_model = params, stall_model

    def __getattr__(self, name):
        return getattr(self._params, name)
