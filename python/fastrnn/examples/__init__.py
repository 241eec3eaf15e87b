"""Examples that are commands: each trains a model on a real, public data set.

``fastrnn sentiment``, ``fastrnn predict``, ``fastrnn language-model``, ``fastrnn forecast`` and
``fastrnn digits``; each module is written to be read.
"""
