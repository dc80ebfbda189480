"""What Keras calls our arrays, one file a model family; see `cvjax.pretrained.convert`."""
