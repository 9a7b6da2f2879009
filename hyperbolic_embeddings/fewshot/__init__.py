"""Few-shot classification with prototypes (Tables 3 and 4): presets, backbones, protonet, episodes, train,
evaluate.
"""
