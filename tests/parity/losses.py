"""Our outputs for the fixture kind of the decoder's losses: `recon_loss`."""

from torch import Tensor

from src.training.decoder.losses import LossConfig, Supervision, decoder_loss

from .fixture import Fixture


def recon_loss(fixture: Fixture) -> dict[str, Tensor]:
    """The terms and their weighted sum, published defects included."""
    config = LossConfig(
        lpips=fixture.config["lambda_lpips"],
        depth=fixture.config["lambda_depth"],
        opacity=fixture.config["lambda_opacity"],
        published_depth_median=True,
        published_opacity=True,
    )
    batch, views, _, *size = fixture.inputs("images_output").shape
    fixture.config.require(lambda_ssim=0.0, batch_size=batch, num_views=views, img_size=size)
    terms = decoder_loss(
        Supervision(
            fixture.inputs("images_pred"),
            fixture.inputs("depths_pred")[:, :, 0],
            fixture.inputs("opacity_pred"),
        ),
        Supervision(fixture.inputs("images_output"), fixture.inputs("depths_output")[:, :, 0]),
        config,
    )
    return {
        "loss_mse": terms["mse"][None],
        "loss_depth": terms["depth"][None],
        "loss_opacity": terms["opacity"][None],
        "loss_total": terms["loss"][None],
    }


KINDS = {"recon_loss": recon_loss}
