"""The targets of the small weights, and whether the figures reach them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from .made import Summary

DEFINITION = (
    "The PSNR of a clip is that of its mean square error over all compared values (RGB in [0, 1], "
    "clipped); a figure is the mean over clips (`psnr`), beside it the PSNR of the mean square "
    "error of all clips together (`pooled`). Clips without a compared pixel don't count. Luma and "
    "chroma are those of BT.601, each with a range of 1. Visible pixels are those that the input "
    "shows, warped with exact depth. Ends are the frames farthest from the input. A pixel moves "
    "where the exact picture differs from that of time 0 by 16/255 or more in a channel."
)


@dataclass(frozen=True)
class Check:
    """One target: `value` and `least` are in dB if no other unit is named, None if not measured."""

    what: str
    value: float | None
    least: float | None

    @property
    def reached(self) -> bool | None:
        """Whether the value reaches the target; None if not measured."""
        if self.value is None or self.least is None:
            return None
        return self.value >= self.least


def all_checks(figures: Mapping[str, Summary]) -> list[Check]:
    """Returns all checks, in the order of the parts."""

    def psnr(name: str, margin: float = 0.0) -> float | None:
        value = figures.get(name, {}).get("psnr")
        return None if value is None else value + margin

    opacity = figures.get("static.opacity.true", {}).get("mean")
    checks = [Check("tokenizer", psnr("tokenizer.static.rgb"), 32.0)]
    checks += [Check(f"tokenizer, {c}", psnr(f"tokenizer.static.{c}"), 36.0) for c in ("cb", "cr")]
    return [
        *checks,
        Check(
            "generated clips, visible pixels: 1.5 dB below the tokenizer's ceiling",
            psnr("generator.true.visible"),
            psnr("ceiling.visible", -1.5),
        ),
        Check(
            "generated clips, hidden pixels: 3.5 dB above the nearest pixel",
            psnr("generator.true.hidden"),
            psnr("nearest.true.hidden", 3.5),
        ),
        Check("Gaussians against decoded frames", psnr("static.decoded.true"), 30.0),
        Check("median opacity of the Gaussians (a share)", opacity, 0.1),
        *(
            Check(
                f"Gaussians at the ends, {name} depth: 3 dB above the unprojected input",
                psnr(f"static.ends.{name}"),
                psnr(f"unprojected.ends.{name}", 3.0),
            )
            for name in ("true", "nano")
        ),
        *(
            Check(
                f"moving scenes at time {time}: 1.5 dB below still ones",
                psnr(f"dynamic.time_{time}.true"),
                psnr("static.ends.true", -1.5),
            )
            for time in decoded_times(figures)
        ),
        Check(
            "moving pixels: better than the same Gaussians of time 0",
            psnr("dynamic.moving.true"),
            psnr("dynamic.moving_if_frozen.true"),
        ),
    ]


def state_checks(figures: Mapping[str, Summary]) -> list[dict[str, object]]:
    """Returns all checks as JSON objects, with `reached`."""
    return [{**asdict(check), "reached": check.reached} for check in all_checks(figures)]


def decoded_times(figures: Mapping[str, Summary]) -> list[int]:
    """Returns the frames at whose times moving scenes were decoded."""
    parts = (name.split(".") for name in figures if name.startswith("dynamic.time_"))
    return sorted({int(part[1].removeprefix("time_")) for part in parts})
