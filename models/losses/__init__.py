"""The three losses of a training step, each a pure function computed in float32."""

from models.losses.id import id_loss
from models.losses.itc import itc_loss
from models.losses.itm import Negatives, hard_negatives, itm_loss

__all__ = ["Negatives", "hard_negatives", "id_loss", "itc_loss", "itm_loss"]
