"""Bars that show how long work goes on."""
