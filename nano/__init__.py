"""Makes, measures and releases the small weights of this project.

`src` and `cosmos_predict1` do not import this package.
"""

from src.config.loading import offer_task
from src.training import offer

offer("worlds for the tokenizer", "nano.data.pools:open_worlds")
offer("held-out worlds for the tokenizer", "nano.data.pools:held_out_worlds")
offer("worlds for the generator", "nano.data.sourced:world_clips")
offer("clips of worlds", "nano.data.clips:write_world_clips")
offer("untrained tokenizer", "nano.data.clips:untrained_tokenizer")
offer_task("depth", config="nano.depth.config:DepthTrainConfig", task="nano.depth.task:DepthTask")
