"""normlib: the helper package of the interactive course on normalization in deep learning.

Read it from the ground up: messages, private and axes (the formula); footprint, norm, layers,
weights, data and training; plots, feedback and widgets; environment. A module imports only from
those before it.
"""
