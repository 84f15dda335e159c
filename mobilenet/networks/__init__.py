"""MobileNet, its blocks, its weights and what it costs (notebooks 1, 2).

Read cost, mobilenets, published, pretrained, backbone, cuts, folding, anatomy, flatbuffer,
frozen.
"""
