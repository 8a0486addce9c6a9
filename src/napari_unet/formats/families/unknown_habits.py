"""Habits of well-known classes, which many people copied: names that tell choices.

Only used as what is likely beforehand; statistics of batch norms overrule it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

HABITS: tuple[tuple[str, dict[str, str]], ...] = (
    # encoder1.enc1conv1, upconv4, decoder4: the brain MRI network of mateuszbuda
    (r"^upconv\d.*^decoder\d|^enc\w*\d\.enc\d?conv", {"concat": "up"}),
    # dconv_down1, dconv_up3, conv_last: usuyama's tutorial
    (r"^dconv_(?:down|up)\d", {"concat": "up", "upsampling": "aligned"}),
    # down_path.0.block, up_path.0.conv_block: jvanvugt's
    (r"^(?:down|up)_path\.\d", {"concat": "up", "upsampling": "linear"}),
    # Up5.up.1, Up_conv5, RRCNN1, Att5: LeeJunHyun's collection
    (r"^Up\d\.up\.|^Up_(?:conv|RRCNN)\d", {"concat": "skip", "upsampling": "nearest"}),
    # ups.0, downs.0, bottleneck, final_conv: aladdinpersson's
    (r"^ups\.\d.*^downs\.\d|^downs\.\d.*^ups\.\d", {"concat": "skip"}),
    # conv0_0, conv0_4, final: 4uiiurz1's
    (r"^conv0_[04]\.", {"concat": "skip", "upsampling": "aligned"}),
    # conv1_1 ... up6 with 2x2 kernels: ports of zhixuhao's Keras network
    (r"^up6\.", {"concat": "skip", "upsampling": "nearest", "up": "act"}),
    # input_layer, residual_conv_1, up_residual_conv1: rishikksh20's
    (r"^up_residual_conv\d", {"concat": "up", "pool": "stride"}),
    # center.block, dec5.block: TernausNet
    (r"^center\.block\..*^dec\d\.block\.", {"concat": "up", "transposed": "act"}),
    # enc1.encode.0, dec4.decode.0: zijundeng's
    (r"\.encode\.\d.*\.decode\.\d", {"concat": "up"}),
)


def habits_of(keys: Iterable[str]) -> dict[str, str]:
    """Return what a class with such names usually does, by choice."""
    text = "\n".join(keys)
    found: dict[str, str] = {}
    for pattern, habits in HABITS:
        if re.search(pattern, text, re.MULTILINE | re.DOTALL):
            found |= habits
    return found
