"""Train fresh networks on a small set of images and test them."""
