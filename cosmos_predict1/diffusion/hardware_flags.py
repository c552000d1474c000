"""The flags of the generator commands that concern the hardware; imports no torch."""

import argparse
from argparse import ArgumentParser
from collections.abc import Mapping

MEMORY = ("8", "12", "16", "24", "max")
HARDWARE_SWITCHES = {
    "--offload_diffusion_transformer": "keep the transformer on the CPU and stream its blocks",
    "--offload_tokenizer": "keep the tokenizer on the CPU while it does not work",
    "--offload_text_encoder_model": "stream T5 from its file through the GPU",
    "--compile": "compile the transformer's blocks",
    "--overwrite": "replace finished clips that were made from another input, other weights or "
    "settings; without it the run is refused",
    "--save_buffer": "also write the warps that each clip was made from, into FOLDER_buffers",
}
# Published flags without an effect, here as there.
IGNORED_VALUES = {
    "--tokenizer_dir": "the tokenizer is found by itself below --checkpoint_dir",
    "--video_save_name": "clips are named after their input",
    "--prompt_upsampler_dir": "prompts are taken as they are",
}
IGNORED_SWITCHES = {
    "--offload_prompt_upsampler": "there is no prompt upsampler",
    "--disable_prompt_upsampler": "there is no prompt upsampler",
    "--offload_guardrail_models": "no guardrail model is run",
    "--disable_guardrail": "no guardrail model is run",
}


def add_hardware(parser: ArgumentParser) -> None:
    """Add the flags of devices, precision and memory, and those without an effect."""
    group = parser.add_argument_group("hardware and output")
    group.add_argument(
        "--num_gpus",
        type=int,
        default=1,
        help="1, or the number of processes; torchrun starts them and they share the trajectories",
    )
    group.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    group.add_argument(
        "--precision",
        choices=("bf16", "fp8"),
        default="bf16",
        help="of the transformer's products: fp8 is faster and halves the weights' memory, but "
        "changes the clips; it needs a GPU of compute capability 8.9 (%(default)s)",
    )
    group.add_argument(
        "--memory",
        choices=MEMORY,
        help="GB of the GPU that may be used; networks then stream or work piece by piece. max: "
        "everything stays on the GPU (default: by the free memory, unless an --offload flag is "
        "given)",
    )
    add_switches(group, HARDWARE_SWITCHES)
    for flag, reason in IGNORED_VALUES.items():
        group.add_argument(flag, help=f"no effect: {reason}")
    add_switches(group, {flag: f"no effect: {why}" for flag, why in IGNORED_SWITCHES.items()})


def add_parallel(parser: ArgumentParser) -> None:
    """Add the flags of processes that share a clip."""
    group = parser.add_argument_group(
        "one clip over several GPUs",
        "processes of torchrun that sample a clip together, for few clips; without these flags, "
        "each makes clips of its own, which is faster where there are as many clips as processes",
    )
    group.add_argument(
        "--context_parallel",
        type=int,
        default=1,
        metavar="N",
        help="N processes share the tokens of a clip; N divides the attention heads",
    )
    group.add_argument(
        "--guidance_parallel",
        action="store_true",
        help="two such groups share a clip, one for each branch of the guidance; with little "
        "exchange between them, which suits GPUs without NVLink",
    )


def add_switches(group: "argparse._ArgumentGroup", switches: Mapping[str, str]) -> None:
    """Add switches, each with its meaning."""
    for flag, meaning in switches.items():
        group.add_argument(flag, action="store_true", help=meaning)
