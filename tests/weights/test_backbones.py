import pytest

from videobert_jax.weights import backbones


def test_an_unknown_backbone_and_missing_weights_are_refused(tmp_path):
    with pytest.raises(backbones.BackboneError, match="i3d_kinetics, s3d_kinetics, s3d_howto100m"):
        backbones.load_backbone("s3d")
    with pytest.raises(backbones.BackboneError, match="fetch it from https"):
        backbones.load_backbone("s3d_kinetics")
    with pytest.raises(backbones.BackboneError, match="is not there"):
        backbones.load_backbone("s3d_howto100m", tmp_path / "s3d.pth")
