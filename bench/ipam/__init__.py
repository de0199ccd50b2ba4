"""Measure how fast addresses are leased; `scripts/bench ipam` runs it.

It stands on private database servers and driver processes in a temporary directory, so it needs neither root
nor a lab, and nothing of the machine's own OVN is touched.
"""
