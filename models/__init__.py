"""The differentiable parts: the dual encoder, the fusion encoder and the losses."""
