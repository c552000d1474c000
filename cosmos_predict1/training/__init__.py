"""Training of the generator; built on `cosmos_predict1.diffusion` and `src.training`."""

from src.config.loading import offer_task

offer_task(
    "generator",
    config="cosmos_predict1.training.config:GeneratorTrainConfig",
    task="cosmos_predict1.training.task:GeneratorTask",
)
offer_task(
    "distill",
    config="cosmos_predict1.training.distillation.config:DistillTrainConfig",
    task="cosmos_predict1.training.distillation.task:DistillTask",
)
