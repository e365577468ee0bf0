"""Nets of timm for the wide zoo: a small member of each family, at few pixels where it takes them."""

from __future__ import annotations

import functools

from torch import nn
from zoo_nets import ZooNet
from zoo_nets import draw_pictures


PIXELS = 96
# With the pixels of those that are not made for as few, and cannot be asked for fewer.
NETS: dict[str, int] = dict.fromkeys(
    [
        "resnet10t",
        "resnet26d",
        "resnetv2_18",
        "resnetv2_50x1_bit",
        "resnext26ts",
        "resnetblur18",
        "seresnet18",
        "legacy_seresnet18",
        "ecaresnet26t",
        "skresnet18",
        "resnest14d",
        "res2net50_14w_8s",
        "gcresnext26ts",
        "regnetx_002",
        "regnety_002",
        "regnetz_005",
        "efficientnet_b0",
        "efficientnet_lite0",
        "tf_efficientnet_b0",
        "tf_efficientnetv2_b0",
        "mobilenetv1_100",
        "mobilenetv2_050",
        "mobilenetv3_small_050",
        "mobilenetv4_conv_small_050",
        "mnasnet_small",
        "semnasnet_075",
        "fbnetc_100",
        "hardcorenas_a",
        "lcnet_050",
        "tinynet_e",
        "mixnet_s",
        "mobileone_s0",
        "convnext_atto",
        "convnextv2_atto",
        "inception_next_atto",
        "mambaout_femto",
        "poolformer_s12",
        "poolformerv2_s12",
        "convformer_s18",
        "caformer_s18",
        "starnet_s050",
        "hgnetv2_b0",
        "ghostnet_050",
        "ghostnetv2_100",
        "repghostnet_050",
        "repvgg_a0",
        "repvit_m0_9",
        "shvit_s1",
        "rexnet_100",
        "hrnet_w18_small",
        "dla46_c",
        "dla60_res2net",
        "densenetblur121d",
        "vgg11",
        "selecsls42b",
        "ese_vovnet19b_slim",
        "cs3darknet_focus_s",
        "dpn48b",
        "xception41p",
        "eca_nfnet_l0",
        "nf_regnet_b0",
        "focalnet_tiny_srf",
        "pvt_v2_b0",
        "edgenext_xx_small",
        "efficientvit_b0",
        "swiftformer_xs",
        "xcit_nano_12_p16_224",
        "csatv2",
        "fastvit_t8",
    ],
    PIXELS,
)
NETS |= dict.fromkeys(
    [
        "vit_tiny_patch16_224",
        "vit_relpos_small_patch16_224",
        "deit_tiny_patch16_224",
        "deit_tiny_distilled_patch16_224",
        "deit3_small_patch16_224",
        "cait_xxs24_224",
        "convit_tiny",
        "eva02_tiny_patch14_224",
        "gmlp_ti16_224",
        "mixer_s32_224",
        "resmlp_12_224",
        "pit_ti_224",
        "tnt_s_patch16_224",
        "visformer_tiny",
        "nest_tiny",
        "volo_d1_224",
        "coat_tiny",
        "coat_lite_tiny",
        "davit_tiny",
        "gcvit_xxtiny",
        "hiera_tiny_224",
        "swin_tiny_patch4_window7_224",
        "twins_svt_small",
        "twins_pcpvt_small",
        "levit_128s",
        "tiny_vit_5m_224",
        "efficientformer_l1",
        "efficientformerv2_s0",
        "efficientvit_m0",
        "mvitv2_tiny",
        "sequencer2d_s",
    ],
    224,
)
NETS |= {
    "crossvit_tiny_240": 240,
    "swinv2_tiny_window8_256": 256,
    "mobilevit_xxs": 128,
    "mobilevitv2_050": 128,
    "halonet26t": 256,
    "botnet26t_256": 256,
    "lambda_resnet26t": 128,
    "coatnet_pico_rw_224": 224,
    "maxxvit_rmlp_nano_rw_256": 256,
}


def list_nets() -> list[ZooNet]:
    """Return the nets."""
    return [
        ZooNet(
            f"timm:{name}",
            functools.partial(_build, name),
            lambda n, pixels=pixels: draw_pictures(n, 3, pixels, pixels),
        )
        for name, pixels in NETS.items()
    ]


def _build(name: str) -> nn.Module:
    import timm

    model: nn.Module = timm.create_model(name, pretrained=False)
    return model
