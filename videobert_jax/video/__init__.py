"""From video files to clip features: decoding, cutting, extraction."""
