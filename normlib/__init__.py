"""normlib: the helper package of the interactive course on normalization in deep learning.

Read it from the ground up: axes (statistics and footprints), layers, data, training, plots,
feedback, widgets. Each module imports only from those before it.
"""
