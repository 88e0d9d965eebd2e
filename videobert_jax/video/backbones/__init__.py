"""3D convolutional networks that turn a clip into a feature vector."""
