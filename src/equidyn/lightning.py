"""A callback for Lightning: ``Trainer(callbacks=[equidyn.lightning.Equivariance(probe)])``."""

from equidyn.errors import MissingPackageError
from equidyn.probe.training import Probe

PREFIX = "val/equivariance"


def Equivariance(probe: Probe, prefix: str = PREFIX):
    """A callback that measures at the end of every validation epoch and logs `val/equivariance_percent`,
    `_percent_lo`, `_percent_hi` and `_rms`.

    The network that is measured is the LightningModule itself; ``probe`` may have a ``predict`` that knows
    what to call of it.

    Raises
    ------
    MissingPackageError
        neither `lightning` nor `pytorch_lightning` is installed
    """
    Callback = _callback_class()

    class _Equivariance(Callback):
        def __init__(self):
            self.probe = probe

        def on_validation_epoch_end(self, trainer, pl_module):
            if trainer.sanity_checking:
                return
            row = probe.measure(pl_module, trainer.global_step)
            for name in ("percent", "percent_lo", "percent_hi", "rms"):
                pl_module.log(f"{prefix}_{name}", getattr(row, name))

    return _Equivariance()


def _callback_class() -> type:
    try:
        from lightning.pytorch import Callback
    except ModuleNotFoundError:
        try:
            from pytorch_lightning import Callback
        except ModuleNotFoundError as error:
            advice = "pip install lightning"
            raise MissingPackageError(f"lightning is not installed, expected here: {advice}") from error
    return Callback
