"""Roboflow's inference server over HTTP: object detection and classification."""
