"""The autoencoder's spatial attention beside that of diffusers."""

import torch

from src.tokenizer.cosmos import VideoTokenizer, frame_attention

TINY = {
    "encoder_block_out_channels": (8, 8, 16, 16),
    "decode_block_out_channels": (8, 16, 16, 16),
    "num_layers": 1,
}


def test_it_equals_diffusers_attention() -> None:
    """Would catch pixels, heads or frames mixed up."""
    from diffusers.models.autoencoders.autoencoder_kl_cosmos import (
        CosmosCausalAttention,
        CosmosSpatialAttentionProcessor2_0,
    )

    attention = CosmosCausalAttention(
        2, 8, processor=CosmosSpatialAttentionProcessor2_0()
    ).requires_grad_(False)
    attention.num_attention_heads = 2
    hidden = torch.randn(2, 8, 3, 4, 5)
    torch.testing.assert_close(frame_attention(attention, hidden), attention(hidden))


def test_both_middle_blocks_use_it() -> None:
    """Would catch a middle block left with the attention that needs 25 GB at full size."""
    tokenizer = VideoTokenizer(TINY, torch.zeros(16, 1), torch.ones(16, 1))
    for part in (tokenizer.autoencoder.encoder, tokenizer.autoencoder.decoder):
        assert part.mid_block.attentions[0].processor is frame_attention
