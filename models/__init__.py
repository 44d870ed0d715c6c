"""What is differentiable: the dual encoder, the fusion encoder, the losses."""
